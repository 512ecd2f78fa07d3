"""Addresses of the project."""

from django.urls import path

from invoices import views

urlpatterns = [
    path("invoices/<int:number>", views.invoice),
    path("statements/<int:year>", views.statement),
    path("ready", views.ready),
]
