#!/bin/sh
# Brings a cloud in Kubernetes to this release: deploy/kubernetes/upgrade.sh OVERLAY [NAMESPACE]
# May be run again at any time. Needs kubectl, and npm ci && npm run build.
set -eu
overlay=${1:?usage: upgrade.sh OVERLAY [NAMESPACE]}
namespace=${2:-omnivisor}
here=$(dirname "$0")

# In variables, not in a pipe: what fails must end this here. It is never written to a disk.
secrets=$(kubectl -n "$namespace" get secrets -o json)
renewed=$(printf '%s' "$secrets" | node "$here/renew-credentials.mjs")
printf '%s' "$renewed" | kubectl replace -f -
kubectl -n "$namespace" delete job migrate --ignore-not-found
kubectl apply --server-side -k "$overlay"
# Those whose image stayed the same take up their new credentials too.
kubectl -n "$namespace" rollout restart deployment/scheduler deployment/image-service deployment/api-gateway
for service in scheduler image-service api-gateway; do
  kubectl -n "$namespace" rollout status "deployment/$service" --timeout=10m
done
