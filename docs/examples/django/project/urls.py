"""Addresses of the project."""

from django.urls import path

from customers import views as customers
from invoices import views

urlpatterns = [
    path("invoices/<int:number>", views.invoice),
    path("statements/<int:year>", views.statement),
    path("customers/<slug:customer>/connect", customers.connect),
    path("connected", customers.connected, name="connected"),
    path("ready", views.ready),
]
