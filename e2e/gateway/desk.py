"""Two real MCP servers behind one endpoint, finance/desk, for clients that others wrote."""

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
# Of the desk, what the invoice bot sees, among other tools, and what nobody permits it.
SEEN = {"ledger__get_invoice", "ledger__whoami", "archive__get_invoice"}
HIDDEN = {"archive__whoami", "archive__transfer", "ledger__delete_invoice", "get_invoice"}


def open_desk():
    """The stage with the desk on it; its `desk` is the address."""
    stage = Stage("ledger")
    stage.add("members", ESTATE.format(archive=stage.port(stage.start("archive", "dual_era_server"))))
    stage.serve()
    stage.desk = f"{stage.url}/mcp/finance/desk"
    return stage
