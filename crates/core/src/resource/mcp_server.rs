//! `MCPServer`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;

/// A registered MCP server, checked.
#[derive(Clone, Debug)]
pub struct McpServer {
    pub meta: Meta,
    pub id: EntityId,
    pub owner: Arc<str>,
    pub team: Arc<str>,
    pub capabilities: Names,
    pub risk_level: RiskLevel,
    pub environment: Arc<str>,
    pub endpoint: Endpoint,
    /// Set name → tool names. Cedar: `resource in ToolSet::"…"`.
    pub tool_sets: BTreeMap<Arc<str>, Names>,
    /// What is known of single tools; a tool not listed takes the server's risk and is assumed destructive.
    pub tools: BTreeMap<Arc<str>, Tool>,
}

/// What a registration says of one tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    pub risk_level: RiskLevel,
    pub read_only: bool,
    pub destructive: bool,
}

impl McpServer {
    /// What is known of `tool`, or the careful default (MCP: `readOnlyHint` false, `destructiveHint` true).
    pub fn tool(&self, tool: &str) -> Tool {
        self.tools.get(tool).copied().unwrap_or(Tool {
            risk_level: self.risk_level,
            read_only: false,
            destructive: true,
        })
    }

    /// The tool sets that list `tool`.
    pub fn sets_of<'a>(&'a self, tool: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        self.tool_sets.iter().filter(move |(_, tools)| tools.contains(tool)).map(|(set, _)| set)
    }
}
