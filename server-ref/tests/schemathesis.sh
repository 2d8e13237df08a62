#!/bin/sh
# Generated requests against a server of its own: no status, media type or schema that
# docs/openapi.json does not promise. Needs `schemathesis` (pip) and a built server.
#
#   server-ref/tests/schemathesis.sh [SERVER [EXAMPLES]]
set -eu
server=${1:-target/debug/adafed-server}
examples=${2:-50}
folder=$(mktemp -d)
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
trap 'kill "$pid" 2>/dev/null || true; rm -r "$folder"' EXIT

ADAFED_ADMIN_TOKEN=$token "$server" serve --listen 127.0.0.1:0 \
    --database "$folder/server.sqlite" >"$folder/out" 2>"$folder/log" &
pid=$!
until url=$(sed -n 's/.* listens on //p' "$folder/out") && [ -n "$url" ]; do
    kill -0 "$pid" || { cat "$folder/log"; exit 1; }
    sleep 0.1
done

# The description's own example is the task that the generated requests are about.
cat >"$folder/create.py" <<'END'
import json, sys, urllib.request
url, token = sys.argv[1:]
ask = urllib.request.urlopen
task = json.load(ask(url + "/v1/openapi.json"))["components"]["schemas"]["CreateTask"]["examples"][0]
headers = {"authorization": "Bearer " + token, "content-type": "application/json"}
ask(urllib.request.Request(url + "/v1/tasks", json.dumps(task).encode(), headers))
END
python3 "$folder/create.py" "$url" "$token"
cat >"$folder/schemathesis.toml" <<'END'
[parameters]
"path.task" = "example"
"path.round" = 0
END

# It keeps what it found in the folder it runs in.
cd "$folder"
# What devices send is encoded and signed: the server's own tests do that.
schemathesis --config-file schemathesis.toml run "$url/v1/openapi.json" \
    --header "Authorization: Bearer $token" --exclude-path /v1/checkin \
    --exclude-path '/v1/tasks/{task}/rounds/{round}/updates/{device}' \
    --exclude-operation-id post_v1_devices \
    --phases examples,coverage,fuzzing --max-examples "$examples" --checks \
not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
response_headers_conformance,negative_data_rejection,unsupported_method
