"""Shows invoices from the billing API."""
