-- The roles of a Bookstore database, each with only the privileges it needs. Run it once as a superuser (or as a role
-- that may create roles) in the service's database, before the first `bookstore db upgrade`:
--
--   psql -v ON_ERROR_STOP=1 -v connections=20 -f deploy/postgresql/roles.sql books
--
-- Run it again to change `connections`; existing roles are kept. It sets no passwords: use \password.
--
-- connections: the sum of (workers + 1) x (pool_size + max_overflow), which `bookstore profiles check` prints, over all
-- instances of the service that use this database, plus a few for interactive use.

\if :{?connections}
\else
  \set connections 20
\endif

SELECT format('CREATE ROLE %I LOGIN', name)
  FROM unnest(ARRAY['bookstore_owner', 'bookstore_app', 'bookstore_monitor']) name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- For `bookstore db upgrade` and `bookstore catalog import`. Owns the tables.
ALTER ROLE bookstore_owner NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS CONNECTION LIMIT 3;
ALTER ROLE bookstore_owner SET lock_timeout = '10s'; -- a migration that waits for a lock blocks others behind it

-- For `bookstore serve`. Reads and writes rows; cannot create, change or drop tables.
ALTER ROLE bookstore_app NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS CONNECTION LIMIT :connections;
ALTER ROLE bookstore_app SET statement_timeout = '30s'; -- for other clients; the service's profile sets a shorter one
ALTER ROLE bookstore_app SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE bookstore_app SET lock_timeout = '5s';

-- For monitoring: Prometheus's postgres_exporter, and people. Sees every session but no table rows.
ALTER ROLE bookstore_monitor NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS CONNECTION LIMIT 5;
ALTER ROLE bookstore_monitor SET statement_timeout = '10s';
ALTER ROLE bookstore_monitor SET default_transaction_read_only = on;
GRANT pg_monitor TO bookstore_monitor;

-- No other role may connect or create objects. The owner also creates the trusted extensions of the first migrations.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO bookstore_app, bookstore_monitor', current_database()) \gexec
SELECT format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO bookstore_owner', current_database()) \gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO bookstore_owner;
GRANT USAGE ON SCHEMA public TO bookstore_app;

-- Existing tables (of an earlier set-up) and tables that the owner will create.
SELECT format('ALTER TABLE %s OWNER TO bookstore_owner', oid::regclass)
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') \gexec
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO bookstore_app;
-- Only the owner may change the schema revision. The table must exist: run this file again after the first upgrade.
SELECT format('REVOKE INSERT, UPDATE, DELETE ON %s FROM bookstore_app', oid::regclass)
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = 'schema_version' \gexec
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO bookstore_app;
ALTER DEFAULT PRIVILEGES FOR ROLE bookstore_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bookstore_app;
ALTER DEFAULT PRIVILEGES FOR ROLE bookstore_owner IN SCHEMA public
  GRANT USAGE ON SEQUENCES TO bookstore_app;
