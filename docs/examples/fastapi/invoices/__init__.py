"""Serves invoices from the billing API."""
