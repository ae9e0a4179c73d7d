package agent.authz
default allow = false
allow {
input.action == "apply_infra"
allow_actor[input.actor.id][input.plan.env]
plan_is_registered[input.plan.hash]
not is_destroy_plan(input.plan.path)
in_change_window(time.parse_rfc3339_ns(input.time))
}
allow_actor["sre-bot"] = {"dev", "staging", "prod"}
allow_actor["deploy-bot"] = {"dev", "staging"}
