#!/bin/sh
# Gives the compose stack of this clone passwords of its own, and folders that you can read: `make env`.
# Run it before the first `docker compose up`; nothing that exists is overwritten.
set -eu
umask 077
for found in .env .secrets; do
  if [ -e "$found" ]; then
    echo "make env: $found is there already and stays as it is; to start anew remove .env and .secrets first" >&2
    exit 1
  fi
done

# Containers write as you do; never as root.
uid=$(id -u)
[ "$uid" -ne 0 ] || uid=1000
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
redis=$(random)
postgres=$(random)
monitoring=$(random)
dashboard=$(random)

mkdir .secrets
printf %s "$redis" >.secrets/redis_password
printf %s "$postgres" >.secrets/postgres_password
printf %s "$monitoring" >.secrets/monitoring_password
printf %s "$dashboard" >.secrets/dashboard_token
printf %s "${HF_TOKEN:-}" >.secrets/hf_token
# Each container has its own user, who must read its file; nobody else gets through the folder.
chmod 444 .secrets/*
mkdir -p artifacts results
[ "$(id -u)" -ne 0 ] || chown "$uid" artifacts results

cat >.env.new <<END
# Written by \`make env\`. docker-compose.yml and arithctl read this file; containers get their passwords from .secrets.
ARITH_COMPOSE_REDIS_PASSWORD=$redis
ARITH_COMPOSE_POSTGRES_PASSWORD=$postgres
ARITH_COMPOSE_REDIS_PASSWORD_FILE=./.secrets/redis_password
ARITH_COMPOSE_POSTGRES_PASSWORD_FILE=./.secrets/postgres_password
ARITH_COMPOSE_MONITORING_PASSWORD_FILE=./.secrets/monitoring_password
ARITH_COMPOSE_DASHBOARD_TOKEN_FILE=./.secrets/dashboard_token
ARITH_COMPOSE_HF_TOKEN_FILE=./.secrets/hf_token
ARITH_COMPOSE_SECRETS=made-$(date -u +%Y-%m-%dT%H:%M:%SZ)
ARITH_COMPOSE_UID=$uid
ARITH_COMPOSE_ARTIFACTS=./artifacts
END
mv .env.new .env
echo "make env: strong passwords are in .env and .secrets, artifacts go to ./artifacts; next: docker compose up --wait -d"
