"""What the application answers."""

from fastapi import APIRouter, HTTPException, Request, Response

from tokenkeeper import OAuth2Error

router = APIRouter()


@router.get("/invoices/{number}")
async def invoice(number: int, request: Request):
    try:
        answer = await request.app.state.billing.get(f"/invoices/{number}")
    except OAuth2Error as error:
        raise HTTPException(503, "billing is not available") from error
    return answer.json()


@router.get("/ready")
async def ready(request: Request, response: Response):
    tokens = request.app.state.tokens
    try:
        await tokens.get_token("billing", timeout=1)
    except OAuth2Error:
        response.status_code = 503
    return {"status": tokens.health()["status"]}


@router.post("/reload")  # for operators: put it behind your login
async def reload(request: Request):
    return await request.app.state.tokens.reload()
