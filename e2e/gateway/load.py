"""Calls without an end, while receivers of records and the gateway stop and begin again."""

import threading

from message import call, modern

LEDGER = "/mcp/finance/ledger"


class Load:
    """Calls, one after another, until it is ended; those that a killed gateway does not answer are no matter."""

    def __init__(self, stage):
        self.stage, self.token, self.calls, self.ended = stage, stage.token("invoice-bot"), 0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ended.is_set():
            message, headers = modern(call("get_invoice", {"id": "INV-1"}))
            try:
                self.stage.post(LEDGER, message, self.token, headers)
                self.calls += 1
            except OSError:
                self.ended.wait(0.05)

    def more(self, count):
        wanted = self.calls + count
        self.stage.until(lambda: self.calls >= wanted, 60)

    def end(self):
        self.ended.set()
        self.thread.join()
