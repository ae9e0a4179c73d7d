# What Vidimus asks, as the printed policy calls it, and what that comes to as findings.
package vidimus.guard

import rego.v1

asked := {
	"action": input.message.params.name,
	"actor": {"id": split(input.principal.id, "/")[1]},
	"plan": input.message.params.arguments.plan,
	"time": input.time,
}

allowed if data.agent.authz.allow with input as asked

findings := [] if allowed

findings := ["not-allowed"] if not allowed
