/**
 * The log in PostgreSQL. Steps run once, in order, and are never edited after a release; functions are replaced on each
 * migration.
 */
export const LOG_STEPS: readonly string[] = [
  `
create table log.head (
  one boolean primary key default true check (one),
  position bigint not null,
  recorded_at timestamptz not null
) with (fillfactor = 10);
insert into log.head (position, recorded_at) values (0, '-infinity');

-- command_id and size stand at the first event of a command.
create table log.event (
  position bigint primary key,
  stream text collate "C" not null,
  revision bigint not null,
  id uuid not null,
  type text not null,
  command_id text collate "C",
  size integer,
  payload text not null check (octet_length(payload) <= 65536),
  meta text not null,
  recorded_at timestamptz not null
);
create unique index event_stream on log.event (stream, revision);
create unique index event_command on log.event (stream, command_id) where command_id is not null;
create unique index event_id on log.event (id);

-- The role that may append to the streams of a kind; the longest kind that fits a stream's name counts.
create table log.kind (kind text collate "C" primary key, writer text);

create function log.refuse() returns trigger language plpgsql as $$
begin
  raise exception 'the log is append-only' using errcode = 'insufficient_privilege';
end $$;
create trigger event_is_final before update or delete or truncate on log.event
  for each statement execute function log.refuse();
`,
  `
-- What is hashed says milliseconds: so must what is stored.
alter table log.event add check (recorded_at = date_trunc('milliseconds', recorded_at));

create table log.checkpoint (
  size bigint primary key,
  position bigint not null unique,
  note text not null
);
create trigger checkpoint_is_final before update or delete or truncate on log.checkpoint
  for each statement execute function log.refuse();

create table log.tile (
  level integer not null,
  index bigint not null,
  hashes bytea not null,
  primary key (level, index)
);
create trigger tile_stays before delete or truncate on log.tile
  for each statement execute function log.refuse();
`,
];

/**
 * Appends many commands, in order, each as a whole or not at all. One row per event; `size`, `expected` and
 * `command` are given at the first event of a command and null at the others. A command without `expected` follows the
 * one before it on the same stream, and goes in only if that one has.
 */
export const LOG_FUNCTIONS = `
create or replace function log.append(
  p_size integer[], p_stream text[], p_expected bigint[], p_command text[],
  p_id uuid[], p_type text[], p_payload text[], p_meta text[])
returns table (status text, revision bigint, "position" bigint, recorded_at bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  e record;
  v_position bigint;
  v_start bigint;
  v_now timestamptz;
  v_revision bigint;
  v_skip boolean := true;
  v_allowed boolean;
  v_owner boolean := session_user = current_user;
begin
  select h.position, greatest(h.recorded_at, date_trunc('milliseconds', clock_timestamp()))
    into strict v_start, v_now from log.head h for update;
  v_position := v_start;
  for e in select * from unnest(p_size, p_stream, p_expected, p_command, p_id, p_type, p_payload, p_meta)
             as u(size, stream, expected, command, id, type, payload, meta)
  loop
    if e.command is not null then
      if not v_owner then
        select k.writer = session_user into v_allowed from log.kind k
          where starts_with(e.stream, k.kind || '-') order by length(k.kind) desc limit 1;
        if v_allowed is not true then
          raise exception 'role % may not append to %', session_user, e.stream using errcode = 'insufficient_privilege';
        end if;
      end if;
      recorded_at := extract(epoch from v_now) * 1000;
      if e.expected is null and status <> 'ok' then
        status := 'conflict';
        v_skip := true;
        return next;
        continue;
      end if;
      select x.revision + x.size - 1, x.position + x.size - 1 into revision, "position"
        from log.event x where x.stream = e.stream and x.command_id = e.command;
      if found then
        status := 'duplicate';
        v_skip := true;
      else
        if e.expected is not null then
          select x.revision into v_revision from log.event x where x.stream = e.stream order by x.revision desc limit 1;
          v_revision := coalesce(v_revision, -1);
        end if;
        v_skip := v_revision <> coalesce(e.expected, v_revision);
        if v_skip then
          status := 'conflict';
          revision := v_revision;
          "position" := 0;
        else
          status := 'ok';
          revision := v_revision + e.size;
          "position" := v_position + e.size;
        end if;
      end if;
      return next;
    end if;
    continue when v_skip;
    v_revision := v_revision + 1;
    v_position := v_position + 1;
    insert into log.event (position, stream, revision, id, type, command_id, size, payload, meta, recorded_at)
      values (v_position, e.stream, v_revision, e.id, e.type, e.command, e.size, e.payload, e.meta, v_now);
  end loop;
  if v_position > v_start then
    update log.head set position = v_position, recorded_at = v_now;
  end if;
end $$;
revoke all on function log.append from public;

-- Keeps a checkpoint and tiles that go on from those kept; a tile may only grow.
create or replace function log.seal(
  p_size bigint, p_position bigint, p_note text, p_level integer[], p_index bigint[], p_hashes bytea[])
returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  t record;
  v_kept bytea;
begin
  if session_user <> current_user
    and (select k.writer from log.kind k where k.kind = 'sealing') is distinct from session_user::text then
    raise exception 'role % may not seal', session_user using errcode = 'insufficient_privilege';
  end if;
  for t in select * from unnest(p_level, p_index, p_hashes) as u(level, index, hashes) order by 1, 2 loop
    insert into log.tile as kept values (t.level, t.index, t.hashes) on conflict (level, index) do nothing;
    continue when found;
    select k.hashes into strict v_kept from log.tile k where k.level = t.level and k.index = t.index for update;
    if substr(v_kept, 1, length(t.hashes)) <> substr(t.hashes, 1, length(v_kept)) then
      raise exception 'tile %/% does not go on from what was sealed', t.level, t.index using errcode = 'data_corrupted';
    end if;
    if length(t.hashes) > length(v_kept) then
      update log.tile k set hashes = t.hashes where k.level = t.level and k.index = t.index;
    end if;
  end loop;
  insert into log.checkpoint values (p_size, p_position, p_note) on conflict (size) do nothing;
end $$;
revoke all on function log.seal from public;
`;
