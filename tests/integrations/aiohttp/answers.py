"""What an API said to a request of aiohttp's."""


async def said(request):
    """Return what the API said to a request."""
    async with request as answer:
        return await answer.json(content_type=None)


async def status(request):
    async with request as answer:
        return answer.status
