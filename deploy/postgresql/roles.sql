-- The roles of a Bookstore database, each with the rights it needs and no more. Run it once as a superuser (or as
-- who may create roles), in the database of the service, before the first `bookstore db upgrade`:
--
--   psql -v ON_ERROR_STOP=1 -v connections=20 -f deploy/postgresql/roles.sql books
--
-- and again after a change of `connections`: what is there stays. It sets no passwords: \password asks for them.
--
-- connections: what the service may open at most: (workers + 1) x (pool_size + max_overflow), which
-- `bookstore profiles check` prints, for each service on this database, and some for what people ask beside it.

\if :{?connections}
\else
  \set connections 20
\endif

SELECT format('CREATE ROLE %I LOGIN', name)
  FROM unnest(ARRAY['bookstore_owner', 'bookstore_app', 'bookstore_monitor']) name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- Who migrates: `bookstore db upgrade`, `bookstore catalog import`. Tables are its own.
ALTER ROLE bookstore_owner NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS CONNECTION LIMIT 3;
ALTER ROLE bookstore_owner SET lock_timeout = '10s'; -- a migration that waits for a lock makes others wait behind it

-- Who serves: `bookstore serve`. It reads and writes rows and can neither make, change nor drop a table.
ALTER ROLE bookstore_app NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS CONNECTION LIMIT :connections;
ALTER ROLE bookstore_app SET statement_timeout = '30s'; -- for what comes beside the service, whose profile says less
ALTER ROLE bookstore_app SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE bookstore_app SET lock_timeout = '5s';

-- Who looks: Prometheus's postgres_exporter, and people. It sees every session, and no books.
ALTER ROLE bookstore_monitor NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS CONNECTION LIMIT 5;
ALTER ROLE bookstore_monitor SET statement_timeout = '10s';
ALTER ROLE bookstore_monitor SET default_transaction_read_only = on;
GRANT pg_monitor TO bookstore_monitor;

-- Nobody else comes in, or makes anything. The owner makes the trusted extensions of the first migrations too.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO bookstore_app, bookstore_monitor', current_database()) \gexec
SELECT format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO bookstore_owner', current_database()) \gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO bookstore_owner;
GRANT USAGE ON SCHEMA public TO bookstore_app;

-- Tables that are there already (of an older set-up) and those that the owner will make.
SELECT format('ALTER TABLE %s OWNER TO bookstore_owner', oid::regclass)
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') \gexec
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO bookstore_app;
-- The schema's revision is the owner's word; run this file again after the first upgrade, then it is only read.
SELECT format('REVOKE INSERT, UPDATE, DELETE ON %s FROM bookstore_app', oid::regclass)
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = 'schema_version' \gexec
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO bookstore_app;
ALTER DEFAULT PRIVILEGES FOR ROLE bookstore_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bookstore_app;
ALTER DEFAULT PRIVILEGES FOR ROLE bookstore_owner IN SCHEMA public
  GRANT USAGE ON SEQUENCES TO bookstore_app;
