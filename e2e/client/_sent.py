"""Notes what an SDK sends, through the hook that httpx offers; the request itself is not touched."""

from _report import plain


class Sent:
    """The last request of a client."""

    def __init__(self):
        self.last = None

    async def _note(self, request):
        self.last = {"method": request.method, "url": str(request.url), "headers": dict(request.headers)}

    def client(self, factory):
        """The SDK's own default HTTP client, with the hook."""
        return factory(event_hooks={"request": [self._note]})

    def beside(self, result):
        return {"answer": plain(result), "sent": self.last}
