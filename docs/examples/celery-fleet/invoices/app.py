"""The Celery application, for the programs that send tasks and for the workers."""

from celery import Celery

app = Celery("invoices", include=["invoices.tasks"])
