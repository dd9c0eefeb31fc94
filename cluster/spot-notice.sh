#!/bin/sh
# Runs on a spot instance of AWS beside ray start: waits for the notice that the instance will be reclaimed, two minutes ahead, and
# drains Ray's node, upon which runs write a checkpoint. Started by aws.yaml. On Kubernetes, nodes are drained by others.
metadata=${METADATA:-http://169.254.169.254/latest}

noticed() {
  token=$(curl -fsS -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token") &&
    curl -fs -m 2 -o /dev/null -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/spot/instance-action"
}

until noticed; do sleep "${INTERVAL:-5}"; done
flags=$(ps -C raylet -o args= | head -n 1 | tr ' ' '\n')
exec ray drain-node --address "$(echo "$flags" | sed -n 's/^--gcs-address=//p')" \
  --node-id "$(echo "$flags" | sed -n 's/^--node_id=//p')" --reason DRAIN_NODE_REASON_PREEMPTION \
  --reason-message 'spot notice of AWS' --deadline-remaining-seconds 110
