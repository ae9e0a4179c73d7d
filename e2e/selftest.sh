#!/usr/bin/env bash
# Starts every upstream, drives each with the real clients (no gateway between), and fails if any part does not do its work.
# Takes about a minute on two busy cores; needs curl. Keeps nothing but, on failure, the directory with all outputs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=$here/run
cache=$("$here/setup.sh")
work=$(mktemp -d)
pids=()
failures=0
stop() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; }
trap stop EXIT

# start NAME PART FLAGS…: an upstream on a free port; its log is $work/NAME.log
start() {
  local name=$1
  shift
  "$run" "$@" --log "$work/$name.log" >"$work/$name.out" 2>"$work/$name.err" &
  pids+=($!)
}

# port NAME: waits for the upstream's ready line
port() {
  for _ in $(seq 300); do
    local line
    line=$(grep -m1 '^ready ' "$work/$1.out" 2>/dev/null) && { echo "${line#ready }"; return; }
    sleep 0.1
  done
  echo "FAIL $1 did not start: $(tail -3 "$work/$1.err")" >&2
  return 1
}

# check WHAT COMMAND…: one line per check
check() {
  local what=$1
  shift
  if "$@" >/dev/null 2>&1; then echo "ok   $what"; else echo "FAIL $what"; failures=$((failures + 1)); fi
}

# drive NAME STEPS PART FLAGS…: a client all of whose STEPS lines must be ok
drive() {
  local name=$1 steps=$2
  shift 2
  "$run" "$@" >"$work/$name.out" 2>"$work/$name.err" || true
  check "$name" all_ok "$work/$name.out" "$steps"
}
all_ok() { [[ $(grep -c '"ok": \?true' "$1") == "$2" && $(grep -c '"ok": \?false' "$1") == 0 ]]; }
has() { grep -q -- "$2" "$work/$1"; }
count() { [[ $(grep -c -- "$2" "$work/$1") == "$3" ]]; }

token=$(python3 -c 'import base64,json; b=lambda o: base64.urlsafe_b64encode(json.dumps(o).encode()).decode().rstrip("="); print(b({"alg":"none"})+"."+b({"sub":"selftest"})+".x")')
export VIDIMUS_TOKEN=$token

start ledger dual_era_server
start everything everything
start filesystem filesystem
start simulator model_simulator --key sk-provider
start oidc oidc_provider --client bot:secret:subject-1 --client other:secret --alg ES256
start echo a2a_agent --kind echo
grpc_port=$(PYTHONPATH=$here/gateway python3 -c 'import stage; print(stage.free_port())')
start over_grpc a2a_agent --kind echo --grpc-port "$grpc_port" --bindings GRPC --versions 1.0
ledger=http://127.0.0.1:$(port ledger)/mcp
start agent3 a2a_agent --name agent-3 --mcp "$ledger"
start agent2 a2a_agent --name agent-2 --next-a2a "http://127.0.0.1:$(port agent3)"
start agent1 a2a_agent --name agent-1 --next-a2a "http://127.0.0.1:$(port agent2)"

# MCP: both SDKs, both eras, on one endpoint
for era in 2025 2026 auto; do drive "ledger-py-$era" 11 mcp_client.py --url "$ledger" --era $era --call whoami '{}' --call list_invoices '{"region": "us"}'; done
for era in 2025 2025-v2 2026 auto; do drive "ledger-ts-$era" 11 mcp_client.mjs --url "$ledger" --era $era --call 'whoami={}' --call 'list_invoices={"region":"us"}'; done
drive ledger-ts-2025-06-18 2 mcp_client.mjs --url "$ledger" --era 2025-v2 --versions 2025-06-18 --steps nothing
check "2025-06-18 is negotiated" has ledger-ts-2025-06-18.out 2025-06-18
check "2026 client gets 2026" has ledger-py-auto.out '"protocol_version": "2026-07-28"'
check "the tool sees the credential" has ledger-py-2026.out selftest
check "the log sees the mirrored parameter" count ledger.log '"mcp-param-region", "us"' 4
check "every cancellation reached the tool" count ledger.log '"event": "cancelled"' 7

everything=http://127.0.0.1:$(port everything)/mcp
drive everything-py 10 mcp_client.py --url "$everything" --call echo '{"message": "hi"}' --prompt simple-prompt '{}' \
  --slow trigger-long-running-operation '{"duration": 1, "steps": 4}' --slow-cancel trigger-long-running-operation '{"duration": 20, "steps": 20}'
drive everything-ts 10 mcp_client.mjs --url "$everything" --call 'echo={"message":"hi"}' --prompt 'simple-prompt={}' \
  --slow 'trigger-long-running-operation={"duration":1,"steps":4}' --slow-cancel 'trigger-long-running-operation={"duration":20,"steps":20}'
check "everything logs" has everything.log '"path":"/mcp"'

filesystem=http://127.0.0.1:$(port filesystem)/mcp
root=$(sed -n 's/^root //p' "$work/filesystem.err")
drive filesystem-py 4 mcp_client.py --url "$filesystem" --steps list_tools,call_tool --call read_text_file "{\"path\": \"$root/hello.txt\"}"
drive filesystem-ts 4 mcp_client.mjs --url "$filesystem" --era 2025 --steps list_tools,call_tool --call "read_text_file={\"path\":\"$root/hello.txt\"}"
check "a real file was read" has filesystem-py.out 'Hello from a real file'
check "filesystem logs" has filesystem.log '"path":"/mcp"'

# A2A: both versions, and a chain of three agents that ends in the ledger
echo_url=http://127.0.0.1:$(port echo)
for version in 1.0 0.3; do drive "a2a-$version" 5 a2a_client --url "$echo_url" --version $version; done
drive a2a-grpc 5 a2a_client --url "http://127.0.0.1:$(port over_grpc)" --binding GRPC
check "gRPC on the wire" has over_grpc.log 'A2AService/SendStreamingMessage'
check "1.0 on the wire" has echo.log '"a2a-version", "1.0"'
check "0.3 on the wire" has echo.log 'message/stream'
drive a2a-chain 2 a2a_client --url "http://127.0.0.1:$(port agent1)" --steps send --metadata '{"skill": "summarize", "hops": 2}'
check "the chain ends in the ledger" has a2a-chain.out Acme
check "the chain names three agents" has a2a-chain.out 'agent-1.*agent-2.*agent-3'
drive a2a-refused 2 a2a_client --url "http://127.0.0.1:$(port agent1)" --steps send --metadata '{"hops": 2, "invoice": "NOPE"}'
check "a refusal comes back word for word" has a2a-refused.out 'TASK_STATE_FAILED.*no invoice NOPE'

# LLM
simulator=http://127.0.0.1:$(port simulator)
drive openai 4 openai_client --url "$simulator/v1" --token sk-provider
for as in api-key auth-token x-api-key; do drive "anthropic-$as" 2 anthropic_client --url "$simulator" --token sk-provider --as $as; done
check "usage is streamed" has openai.out '"chunks": 11, "usage": {"completion_tokens": 11, "prompt_tokens": 2'
"$run" openai_client --url "$simulator/v1" --token wrong >"$work/openai-wrong.out" || true
"$run" anthropic_client --url "$simulator" --token wrong >"$work/anthropic-wrong.out" || true
check "another key is refused as OpenAI does" count openai-wrong.out '"status": 401' 4
check "another key is refused as Anthropic does" count anthropic-wrong.out authentication_error 2

# OIDC
issuer=http://127.0.0.1:$(port oidc)
ask() { curl -sf -u "$1:secret" -d grant_type=client_credentials -d resource=urn:vidimus "$issuer/token"; }
verify() { "$cache/venv/bin/python" -c 'import json,sys,jwt
token = json.loads(sys.argv[2])["access_token"]
key = jwt.PyJWKClient(sys.argv[1] + "/jwks").get_signing_key_from_jwt(token).key
claims = jwt.decode(token, key, ["ES256"], audience="urn:vidimus", issuer=sys.argv[1])
assert claims["sub"] == sys.argv[3], claims' "$issuer" "$1" "$2"; }
refused() { ! verify "$@"; }
first=$(ask bot)
check "a token verifies, with its subject" verify "$first" subject-1
check "the subject is the client by default" verify "$(ask other)" other
curl -sf -X POST "$issuer/admin/rotate" >"$work/rotate.out"
check "after a rotation the old key is still published" verify "$first" subject-1
check "and the new one signs" verify "$(ask bot)" subject-1
curl -sf -X POST "$issuer/admin/rotate?keep=false" >>"$work/rotate.out"
check "a dropped key is gone" refused "$first" subject-1
check "and the newest signs" verify "$(ask bot)" subject-1
check "OIDC logs" has oidc.log '"path":"/token"'

if ((failures)); then
  echo "$failures failed; outputs in $work" >&2
  exit 1
fi
rm -rf "$work"
echo "all parts work"
