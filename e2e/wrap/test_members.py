"""fastmcp, unmodified, through one endpoint with two members."""

import asyncio
import unittest

import fastmcp
from fastmcp.client.transports import StreamableHttpTransport
from stage import Stage

ESTATE = """
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: archive, namespace: finance}}
spec: {{owner: ada.lovelace@example.com, team: finance, riskLevel: low, endpoint: {{url: "http://127.0.0.1:{archive}/mcp"}}}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: desk, namespace: finance}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  riskLevel: low
  members: [{{name: ledger, server: {{name: ledger}}}}, {{name: archive, server: {{name: archive}}}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: archive-read, namespace: finance}}
spec:
  description: Of the archive, finance agents may get an invoice.
  cedar: permit (principal in Group::"finance-agents", action == Action::"invokeTool", resource == Tool::"finance/archive/get_invoice");
"""


class FastMcp(unittest.TestCase):
    def test_fastmcp_calls_tools_of_both(self):
        stage = Stage("ledger")
        try:
            stage.add("members", ESTATE.format(archive=stage.port(stage.start("archive", "dual_era_server"))))
            stage.serve()
            token = stage.token("invoice-bot")

            async def run():
                transport = StreamableHttpTransport(f"{stage.url}/mcp/finance/desk", headers={"Authorization": f"Bearer {token}"})
                async with fastmcp.Client(transport) as client:
                    names = {tool.name for tool in await client.list_tools()}
                    answers = [await client.call_tool(f"{member}__get_invoice", {"id": "INV-1"}) for member in ("ledger", "archive")]
                    resources = [str(one.uri) for one in await client.list_resources()]
                    return names, answers, resources, await client.read_resource("archive+ledger://policy")

            names, answers, resources, read = asyncio.run(run())
            self.assertLessEqual({"ledger__get_invoice", "ledger__whoami", "archive__get_invoice"}, names)
            self.assertNotIn("archive__whoami", names)
            self.assertTrue(all("Acme" in str(answer) for answer in answers), answers)
            self.assertEqual(sorted(resources), ["archive+ledger://policy", "ledger+ledger://policy"])
            self.assertIn("second pair of eyes", str(read))
        finally:
            stage.close()


if __name__ == "__main__":
    unittest.main()
