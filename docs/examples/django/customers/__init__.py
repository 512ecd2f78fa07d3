"""Connects the accounts of customers at HubSpot."""
