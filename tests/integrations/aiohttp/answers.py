"""The API's answer to a request of aiohttp."""


async def said(request):
    """Return the API's answer to a request."""
    async with request as answer:
        return await answer.json(content_type=None)


async def status(request):
    async with request as answer:
        return answer.status
