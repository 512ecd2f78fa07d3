// Sphinx drops numbers from queries. Put HTTP status codes back.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return; // not the search page
  const parse = Search._parseQuery;
  Search._parseQuery = (query) => {
    const parsed = parse(query);
    const [, terms, , highlighted] = parsed;
    for (const code of query.match(/\b\d{3}\b/g) ?? []) {
      terms.add(code);
      highlighted.add(code);
    }
    return parsed;
  };
});
