"""Fetches invoices from the billing API, in Celery tasks."""
