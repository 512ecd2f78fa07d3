"""Views that connect a customer's account at HubSpot."""

from django.http import HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect
from django.urls import reverse

from tokenkeeper import OAuth2Error, get_default_keeper


def connect(request, customer):  # put it behind your login, which knows the customer
    authorization = get_default_keeper().authorize(
        "hubspot",
        account=customer,
        redirect_uri=request.build_absolute_uri(reverse("connected")),
    )
    request.session["hubspot_state"] = authorization.state
    return redirect(authorization.url)


def connected(request):
    state = request.session.pop("hubspot_state", None)
    if state is None:
        return HttpResponseBadRequest("Begin with the link in your settings.")
    url = request.build_absolute_uri()
    try:
        get_default_keeper().complete_authorization("hubspot", url, state=state)
    except OAuth2Error as error:
        return HttpResponseBadRequest(f"HubSpot was not connected. {error}")
    return HttpResponse("HubSpot is connected.")
