// Package conn is Redis as weir reaches it: by URL, or embedded in the process.
//
// What always holds:
//
//   - One URL says all there is to say: where, how secured, as whom. Nothing is
//     read from the environment and no default hides behind an option.
//   - A password given in a URL never comes out again: not from Open, Redact,
//     Explain, Ready or Check, and not from a URL too broken to be understood.
//     Therefore a part of a URL is quoted only where no password can be.
//   - An error is one line: where, what, and what to do about it.
//   - While Redis is away nothing spins: Ready waits longer after each failure,
//     up to 5 s, and a single command gives up within its own retries.
//   - Waiting is for what waiting can mend. A wrong password or certificate ends
//     Ready at once (Permanent says which errors are of that kind).
//   - Clients of Open and Embedded speak RESP2 and send nothing but HELLO (with
//     AUTH and SELECT) of their own accord. RESP3 brings push messages that
//     weir has no use for and that go-redis looks for around every command.
//
// URLs:
//
//	redis://[user:password@]host[:6379][/db]
//	rediss://...                                      the same by TLS
//	unix://[user:password@]/path/to.sock[?db=0]
//	redis-sentinel://[user:password@]h1[:26379],h2/mastername[/db][?sentinel_username=&sentinel_password=]
//	redis-cluster://[user:password@]h1[:6379],h2:7001
//	rediss-sentinel://, rediss-cluster://             the same by TLS
//
// Options, after "?":
//
//	ca=/path.pem                     trust this CA instead of the system's
//	cert=/path.pem key=/path.pem     client certificate
//	password_file=/path              the password is in this file, which others cannot read
//	server_name=NAME                 the name the certificate must have
//	insecure_skip_verify=true        no check of the certificate
//	pool_size=64                     connections, per node
//	dial_timeout=5s read_timeout=5s write_timeout=5s
//
// The embedded Redis is miniredis: the same commands and scripts, no TTL clock
// of its own (Embedded moves it) and no life after the process.
package conn
