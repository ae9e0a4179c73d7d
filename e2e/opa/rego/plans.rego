# What the printed policy asks for and does not define.
package agent.authz

plan_is_registered = {"sha256:8f2cb7b6"}

is_destroy_plan(path) {
	endswith(path, ".destroy.tfplan")
}

in_change_window(now) {
	[hour, _, _] := time.clock(now)
	hour >= data.change_window.from
	hour < data.change_window.to
}
