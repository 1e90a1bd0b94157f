#!/usr/bin/env bash
# Checks a deployed iris classifier over HTTP, with bash and curl only:
#
#   ./test_modal.sh URL
#
# URL is the address that `deploy` prints: the function answers there and at URL/predict, and both are checked.
# A URL that ends in /predict is the app's address of that function: only that one path is checked.
# Says what failed and what came back; the exit code is 1 when anything did.
set -u

if [ $# -ne 1 ]; then
    echo "usage: $0 URL" >&2
    exit 2
fi
command -v curl >/dev/null || { echo "$0 needs curl" >&2; exit 2; }

samples=$(dirname "$0")/sample_data.json
url=${1%/}
case $url in
    */predict) base=${url%/predict}; paths="/predict" ;;
    *) base=$url; paths="/ /predict" ;;
esac
passed=0
failed=0

# request METHOD PATH [BODY]: sets status, content_type and body. A refused connection or no answer in time is status 000.
request() {
    local arguments=(-sS -o - -w '\n%{http_code} %{content_type}' --max-time 60 -X "$1" "$base$2")
    [ $# -ge 3 ] && arguments+=(-H 'Content-Type: application/json' --data-binary "$3")
    local answer last
    answer=$(curl --noproxy '*' "${arguments[@]}" 2>&1)
    last=${answer##*$'\n'}
    status=${last%% *}
    content_type=${last#* }
    body=${answer%$'\n'*}
}

ok() {
    passed=$((passed + 1))
    echo "ok      $1"
}

fail() {
    failed=$((failed + 1))
    echo "FAILED  $1"
    echo "        expected $2"
    echo "        got      status $status, ${content_type:-no content type}: $(printf %s "$body" | head -c 300)"
}

# answers NAME STATUS_PATTERN: the last request's status matches.
answers() {
    # shellcheck disable=SC2254  # a pattern on purpose
    case $status in
        $2) ok "$1" ;;
        *) fail "$1" "status $2" ;;
    esac
}

first='{"features": [5.1, 3.5, 1.4, 0.2]}'

for path in $paths; do
    request POST "$path" "$first"
    if [ "$status" = 404 ] && [ "$path" = / ]; then
        fail "the endpoint answers at /" "status 200 (if this is the app's address, give $base/predict)"
    else
        answers "the endpoint answers at $path" 200
    fi
done

path=${paths##* }
request POST "$path" "$first"
case $content_type in
    application/json*) ok "the response is JSON" ;;
    *) fail "the response is JSON" "content type application/json" ;;
esac
if [[ $body =~ ^\{\ *\"prediction\":\ *[0-9]+,\ *\"class_name\":\ *\"[a-z]+\"\ *\}$ ]]; then
    ok "the response has prediction (a number) and class_name (a string), and nothing else"
else
    fail "the response format" 'something like {"prediction":0,"class_name":"setosa"}'
fi

# One sample a line in the file.
count=0
while IFS= read -r line; do
    [[ $line =~ \"features\":\ (\[[^]]*\]),\ \"prediction\":\ ([0-9]+),\ \"class_name\":\ \"([a-z]+)\" ]] || continue
    features=${BASH_REMATCH[1]}
    expected="{\"prediction\":${BASH_REMATCH[2]},\"class_name\":\"${BASH_REMATCH[3]}\"}"
    count=$((count + 1))
    request POST "$path" "{\"features\": $features}"
    if [ "$status" = 200 ] && [ "${body// /}" = "$expected" ]; then
        ok "$features is ${BASH_REMATCH[3]}"
    else
        fail "the prediction for $features" "$expected"
    fi
done <"$samples"
if [ "$count" -eq 0 ]; then
    status=- content_type=- body=
    fail "the samples in $samples" "at least one"
fi

request POST "$path" 'this is not JSON'
answers "a body that is not JSON is the caller's error" '4??'
request POST "$path" '{"petals": 3}'
answers "missing features are an error, not a hang" '[45]??'
request POST "$path"
answers "no body is the caller's error" '4??'
request GET "$path"
answers "a wrong method is refused" 405
request POST "/no-such-path" "$first"
answers "an unknown path is not found" 404
request POST "$path" "$first"
answers "and after all those errors it still answers" 200

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
