"""Connects the accounts of customers at HubSpot, and calls it for them."""

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse

from tokenkeeper import AuthorizationRequiredError, OAuth2Error
from tokenkeeper.integrations.httpx import KeeperAuth

router = APIRouter()


@router.get("/customers/{customer}/connect")  # put it behind your login, which knows the customer
async def connect(customer: str, request: Request):
    authorization = await request.app.state.tokens.authorize(
        "hubspot", account=customer, redirect_uri=str(request.url_for("connected"))
    )
    request.session["hubspot_state"] = authorization.state
    return RedirectResponse(authorization.url)


@router.get("/connected")
async def connected(request: Request):
    state = request.session.pop("hubspot_state", None)
    if state is None:
        raise HTTPException(400, "Begin with the link in your settings.")
    tokens = request.app.state.tokens
    try:
        await tokens.complete_authorization("hubspot", str(request.url), state=state)
    except OAuth2Error as error:
        raise HTTPException(400, f"HubSpot was not connected. {error}") from error
    return {"hubspot": "connected"}


@router.get("/customers/{customer}/contacts")  # this one as well
async def contacts(customer: str, request: Request):
    source = request.app.state.tokens.keeper.source("hubspot", account=customer)
    hubspot = request.app.state.hubspot
    try:
        answer = await hubspot.get("/crm/v3/objects/contacts", auth=KeeperAuth(source))
    except AuthorizationRequiredError as error:
        raise HTTPException(409, "Connect HubSpot first.") from error
    return answer.json()
