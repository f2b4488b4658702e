/* statements.h: what the writer says to SQLite. Internal to tape/writer.c. */
#ifndef RINGTAPE_TAPE_STATEMENTS_H
#define RINGTAPE_TAPE_STATEMENTS_H

#define STATEMENTS(X)                                                                                                            \
    X(ST_BEGIN, "BEGIN IMMEDIATE")                                                                                               \
    X(ST_COMMIT, "COMMIT")                                                                                                       \
    X(ST_FIELDS, "INSERT INTO header_block (id, fields, mime, encoding) VALUES (?1, ?2, ?3, ?4)")                                \
    X(ST_CONTENT, "INSERT INTO body (id, bytes, hash, content) VALUES (?1, ?2, ?3, ?4)")                                         \
    X(ST_CONTENT_OF, "SELECT content FROM body WHERE id = ?1")                                                                   \
    X(ST_BODY, "INSERT INTO body (id, bytes) VALUES (?1, 0)")                                                                    \
    X(ST_BODY_BYTES, "UPDATE body SET bytes = ?2 WHERE id = ?1")                                                                 \
    X(ST_BODY_END, "UPDATE body SET bytes = ?2, hash = ?3, same_as = ?4 WHERE id = ?1")                                          \
    X(ST_CHUNK, "INSERT INTO chunk (body, seq, at_ns, bytes, content) VALUES (?1, ?2, ?3, ?4, ?5)")                              \
    X(ST_CHUNKS_DROP, "UPDATE chunk SET content = NULL WHERE body = ?1")                                                         \
    X(ST_CHUNKS_DIFFER,                                                                                                          \
      "SELECT count(*) FROM chunk a LEFT JOIN chunk b ON b.body = ?2 AND b.seq = a.seq WHERE a.body = ?1 AND "                   \
      "a.content IS NOT b.content")                                                                                              \
    X(ST_FLOW,                                                                                                                   \
      "INSERT OR REPLACE INTO flow (id, session, kind, track, started_ns, method, scheme, host, port, path, request_version, "   \
      "request_headers, request_trailers, request_body, request_bytes, request_wire_bytes, response_version, status, reason, "   \
      "response_headers, response_trailers, response_body, response_bytes, response_wire_bytes, informational, request_end_ns, " \
      "sent_ns, response_begin_ns, response_end_ns, complete, error, answered, client_connection, server_connection, "           \
      "server_reused, raw) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, "  \
      "?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36)")                                         \
    X(ST_CONNECTION,                                                                                                             \
      "INSERT OR REPLACE INTO connection (id, session, side, peer, local, host, port, sni, alpn, tls_version, tls_cipher, "      \
      "tls_resumed, chain, opened_ns, dns_ns, connected_ns, tls_ns, closed_ns, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, "      \
      "?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)")                                                               \
    X(ST_MESSAGE,                                                                                                                \
      "INSERT INTO message (flow, seq, at_ns, direction, kind, more, wire_bytes, code, event, event_id, retry_ms, payload) "     \
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")                                                              \
    X(ST_SESSION, "INSERT INTO session (started_ns, command, ringtape_version, hash_key) VALUES (?1, ?2, ?3, ?4)")               \
    X(ST_SESSION_END, "UPDATE session SET ended_ns = ?2 WHERE id = ?1")

enum statement {
#define STATEMENT_ENUM(name, sql) name,
    STATEMENTS(STATEMENT_ENUM)
#undef STATEMENT_ENUM
        ST_COUNT
};

static const char *const statement_sql[] = {
#define STATEMENT_SQL(name, sql) [name] = sql,
    STATEMENTS(STATEMENT_SQL)
#undef STATEMENT_SQL
};

#endif
