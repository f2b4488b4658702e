-- tape.sql: version 1 of the tape, one SQLite database (docs/tape.md).
--
-- application_id 0x52545031 ("RTP1"), user_version 1, encoding UTF-8. Times named *_ns are nanoseconds: those called started, ended or
-- opened are wall clock since 1970-01-01 UTC, all others are offsets from the start of the flow or connection that they belong to, null when
-- the thing did not happen. What a column refers to is said in its comment; nothing is enforced while recording.
-- A reader compares the text of every statement here with the one in the file: a change, of a comment too, is a new version.

CREATE TABLE session ( -- one recording
    id INTEGER PRIMARY KEY,         -- 1, and one more for each --append
    started_ns INTEGER NOT NULL,    -- wall clock
    ended_ns INTEGER,               -- wall clock; null: being recorded, or cut off (killed, disk full)
    command TEXT,                   -- what ran under record, a JSON array of strings; null: nothing did
    ringtape_version TEXT NOT NULL, -- of the program that recorded it
    hash_key BLOB NOT NULL          -- 16 random bytes: the key of body.hash; the same in all sessions of a tape
) STRICT;

CREATE TABLE connection ( -- one TCP connection, to a client or to an origin
    id INTEGER PRIMARY KEY,         -- in order of creation
    session INTEGER NOT NULL,       -- session.id
    side TEXT NOT NULL,             -- 'client' or 'server'
    peer TEXT NOT NULL,             -- address:port of the other end; '' unknown
    local TEXT NOT NULL,            -- address:port of our end; '' unknown
    host TEXT NOT NULL,             -- server: the name asked for; client: the target of its CONNECT, '' without one
    port INTEGER NOT NULL,          -- of host; 0 without one
    sni TEXT NOT NULL,              -- server name in the TLS handshake; '' none
    alpn TEXT NOT NULL,             -- protocol that was negotiated; '' none
    tls_version TEXT NOT NULL,      -- 'TLSv1.3'; '' not TLS
    tls_cipher TEXT NOT NULL,       -- name of the suite; '' not TLS
    tls_resumed INTEGER NOT NULL,   -- 1: an earlier TLS session went on
    chain INTEGER,                  -- body.id: the origin's certificates as DER, each after its length (4 bytes, big-endian); null none
    opened_ns INTEGER NOT NULL,     -- wall clock: accepted, or first dialled
    dns_ns INTEGER,                 -- offset: addresses known
    connected_ns INTEGER,           -- offset: TCP connected
    tls_ns INTEGER,                 -- offset: TLS handshake done
    closed_ns INTEGER,              -- offset: closed; null: still open, or the recording ended first
    error TEXT                      -- why it failed or ended early, 'word: reason'; null: it did not
) STRICT;

CREATE TABLE flow ( -- one exchange: a request and its response; or a tunnel
    id INTEGER PRIMARY KEY,         -- in order of begin
    session INTEGER NOT NULL,       -- session.id
    kind TEXT NOT NULL,             -- 'http', 'websocket', 'tunnel'
    track TEXT,                     -- user name given to the proxy; null none
    started_ns INTEGER NOT NULL,    -- wall clock: the request began
    method TEXT NOT NULL,           -- 'GET'
    scheme TEXT NOT NULL,           -- 'http', 'https'; may be '' for a CONNECT
    host TEXT NOT NULL,             -- lower case, without port and brackets
    port INTEGER NOT NULL,          -- the port in effect
    path TEXT NOT NULL,             -- path and query as sent; '' for a CONNECT
    request_version TEXT NOT NULL,  -- 'HTTP/1.1', 'HTTP/2'
    request_headers INTEGER,        -- header_block.id; null: no fields
    request_trailers INTEGER,       -- header_block.id; null none
    request_body INTEGER,           -- body.id: what is kept of the content; null none
    request_bytes INTEGER NOT NULL, -- content that was forwarded, after transfer-decoding; more than body.bytes when --max-body cut it
    request_wire_bytes INTEGER NOT NULL, -- heads and framing included
    response_version TEXT,          -- null: no response
    status INTEGER,                 -- null: none
    reason TEXT,                    -- reason phrase; null: no response
    response_headers INTEGER,       -- header_block.id; null: no fields
    response_trailers INTEGER,      -- header_block.id; null none
    response_body INTEGER,          -- body.id; null none
    response_bytes INTEGER NOT NULL, -- as request_bytes
    response_wire_bytes INTEGER NOT NULL, -- as request_wire_bytes
    informational TEXT,             -- 1xx responses, JSON: [[status, reason, fields, offset_ns], ...]; null none
    request_end_ns INTEGER,         -- offset: the request was complete
    sent_ns INTEGER,                -- offset: the request head was handed to the server connection
    response_begin_ns INTEGER,      -- offset: the response head had come
    response_end_ns INTEGER,        -- offset: the response was complete, or it broke off
    complete INTEGER NOT NULL,      -- 1: request and response both ended as they should
    error TEXT,                     -- why not, 'word: reason'; null: complete, in progress, or the recorder was killed
    answered INTEGER NOT NULL,      -- 1: no response came and ringtape answered in its place: status is what the client was told
    client_connection INTEGER,      -- connection.id
    server_connection INTEGER,      -- connection.id; null: none was had
    server_reused INTEGER NOT NULL, -- 1: an earlier flow used the same server connection
    raw TEXT                        -- columns whose bytes are not UTF-8 and are shown escaped above: JSON [[column, {"base64": bytes}], ...]; null none
) STRICT;

CREATE TABLE header_block ( -- header or trailer fields of one message; equal ones are stored once in a session
    id INTEGER PRIMARY KEY,
    fields TEXT NOT NULL,           -- JSON [[name, value], ...] in wire order and case; what is not UTF-8 is {"base64": bytes} instead of a string
    mime TEXT,                      -- Content-Type in lower case, without parameters; null none
    encoding TEXT                   -- Content-Encoding in lower case; null none
) STRICT;

CREATE TABLE body ( -- content after transfer-decoding, before content-decoding; equal ones are stored once
    id INTEGER PRIMARY KEY,
    bytes INTEGER NOT NULL,         -- kept so far
    hash BLOB,                      -- SipHash-2-4-128 of the content under hash_key; null: it never ended
    same_as INTEGER,                -- body.id that holds the same content; then chunks tell sizes and times only; null: its own
    content BLOB                    -- all of it, when small; null: in chunk, or in same_as
) STRICT;

CREATE TABLE chunk ( -- pieces of large or slow content
    id INTEGER PRIMARY KEY,
    body INTEGER NOT NULL,          -- body.id
    seq INTEGER NOT NULL,           -- from 0
    at_ns INTEGER NOT NULL,         -- offset from the flow's start: its first byte was received
    bytes INTEGER NOT NULL,         -- size
    content BLOB,                   -- null: to be had from body.same_as
    UNIQUE (body, seq)
) STRICT;

CREATE TABLE message ( -- WebSocket frames, events of an event stream, bytes of a tunnel
    id INTEGER PRIMARY KEY,
    flow INTEGER NOT NULL,          -- flow.id
    seq INTEGER NOT NULL,           -- from 0, both directions together
    at_ns INTEGER NOT NULL,         -- offset from the flow's start
    direction TEXT NOT NULL,        -- 'request': from the client; 'response': from the origin
    kind TEXT NOT NULL,             -- 'bytes', 'text', 'binary', 'ping', 'pong', 'close', 'event'
    payload BLOB NOT NULL,
    UNIQUE (flow, seq)
) STRICT;

CREATE VIEW flows AS -- flow, for people
SELECT f.id, f.session, f.track,
    strftime('%Y-%m-%dT%H:%M:%fZ', f.started_ns / 1000000 / 1000.0, 'unixepoch') AS started,
    f.method, f.scheme, f.host, f.port, f.path,
    CASE WHEN f.method = 'CONNECT' THEN '' ELSE f.scheme || '://' END
        || CASE WHEN instr(f.host, ':') THEN '[' || f.host || ']' ELSE f.host END
        || CASE WHEN f.method <> 'CONNECT' AND f.port = CASE f.scheme WHEN 'http' THEN 80 WHEN 'https' THEN 443 END THEN '' ELSE ':' || f.port END
        || f.path AS url,
    f.request_version AS http_version, f.status, f.reason, h.mime, f.request_bytes, f.response_bytes,
    round(f.response_begin_ns / 1e6, 3) AS ttfb_ms, round(f.response_end_ns / 1e6, 3) AS total_ms,
    f.complete, f.error, f.kind
FROM flow f LEFT JOIN header_block h ON h.id = f.response_headers;

CREATE VIEW headers AS -- one row a field; a name or value that is not UTF-8 appears as {"base64":"..."}
SELECT f.id AS flow, 'request' AS side, 0 AS trailer, j.key AS seq,
    json_extract(j.value, '$[0]') AS name, json_extract(j.value, '$[1]') AS value
FROM flow f JOIN header_block h ON h.id = f.request_headers JOIN json_each(h.fields) j
UNION ALL
SELECT f.id, 'request', 1, j.key, json_extract(j.value, '$[0]'), json_extract(j.value, '$[1]')
FROM flow f JOIN header_block h ON h.id = f.request_trailers JOIN json_each(h.fields) j
UNION ALL
SELECT f.id, 'response', 0, j.key, json_extract(j.value, '$[0]'), json_extract(j.value, '$[1]')
FROM flow f JOIN header_block h ON h.id = f.response_headers JOIN json_each(h.fields) j
UNION ALL
SELECT f.id, 'response', 1, j.key, json_extract(j.value, '$[0]'), json_extract(j.value, '$[1]')
FROM flow f JOIN header_block h ON h.id = f.response_trailers JOIN json_each(h.fields) j;

CREATE VIEW bodies AS -- content as on the wire after transfer-decoding, in one piece (SQLite ends at 10^9 bytes; chunk has no such end)
SELECT f.id AS flow, 'request' AS side, h.encoding, b.bytes,
    coalesce(o.content, (SELECT CAST(group_concat(c.content, '') AS BLOB)
        FROM (SELECT content FROM chunk WHERE body = o.id ORDER BY seq) c)) AS content
FROM flow f JOIN body b ON b.id = f.request_body JOIN body o ON o.id = coalesce(b.same_as, b.id)
    LEFT JOIN header_block h ON h.id = f.request_headers
UNION ALL
SELECT f.id, 'response', h.encoding, b.bytes,
    coalesce(o.content, (SELECT CAST(group_concat(c.content, '') AS BLOB)
        FROM (SELECT content FROM chunk WHERE body = o.id ORDER BY seq) c))
FROM flow f JOIN body b ON b.id = f.response_body JOIN body o ON o.id = coalesce(b.same_as, b.id)
    LEFT JOIN header_block h ON h.id = f.response_headers;

CREATE VIEW sessions AS -- session, for people
SELECT s.id,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.started_ns / 1000000 / 1000.0, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.ended_ns / 1000000 / 1000.0, 'unixepoch') AS ended,
    s.command, s.ringtape_version, (SELECT count(*) FROM flow f WHERE f.session = s.id) AS flows
FROM session s;
