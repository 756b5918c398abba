// Creates, changes, lists and deletes a book with the types that openapi-typescript generated.
// Called with the address of a service and a token; test_generated_clients.py also checks its types.

import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { argv: string[] };

function check(isTrue: unknown, what: string): asserts isTrue {
  if (!isTrue) throw new Error(what);
}

const [, , baseUrl, token] = process.argv;
// Lists of books are also text/csv and application/x-ndjson, which are no objects.
const client = createClient<paths, "application/json" | "application/problem+json">({
  baseUrl,
  headers: { Authorization: `Bearer ${token}` },
  querySerializer: { array: { style: "form", explode: false } }, // sort=-publication_year,title
});

const created = await client.POST("/books", { body: { title: "Generated" } });
check(created.data, JSON.stringify(created.error));
const path = { book_id: created.data.id };
const version = created.response.headers.get("etag") ?? "";

const changed = await client.PATCH("/books/{book_id}", {
  params: { path, header: { "If-Match": version } },
  body: { publication_year: 1969 },
  headers: { "Content-Type": "application/merge-patch+json" },
});
check(changed.data?.publication_year === 1969, JSON.stringify(changed.error));

const page = await client.GET("/books", {
  params: { query: { sort: ["-publication_year", "title"], fields: ["id", "title"], limit: 1 } },
});
check(page.data?.items[0]?.id === path.book_id, JSON.stringify(page));

const latest = changed.response.headers.get("etag") ?? "";
const deleted = await client.DELETE("/books/{book_id}", { params: { path, header: { "If-Match": latest } } });
check(deleted.response.status === 204, JSON.stringify(deleted.error));
const gone = await client.GET("/books/{book_id}", { params: { path } });
check(gone.error?.code === "not_found", JSON.stringify(gone.data));
