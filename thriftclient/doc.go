// Package thriftclient faces Thrift servers: it is what one writes instead of thrift.NewTStandardClient.
//
//	pool, err := thriftclient.Open("discovery.user.prod", thriftclient.Options{
//		Idempotent: []string{"getUser", "ping"},
//	})
//	if err != nil {
//		return err // the options make no sense; a file that is not there yet is no error
//	}
//	defer pool.Close(context.Background())
//	users := userservice.NewUserServiceClient(pool) // generated code, untouched
//	user, err := users.GetUser(ctx, id)
//
// A Pool is a thrift.TClient. It follows the serverset file, chooses a host for each call, keeps connections, tries again what is safe
// to try again, and leaves hosts alone that fail. It is safe for concurrent use, and one is enough for a process and a service. The
// generated client is not quite: since Thrift 0.14 it remembers the last ResponseMeta, so make one for each goroutine. It costs
// nothing.
//
// # What a call may cost
//
// Options.Timeout (5 s) and the deadline of the context bound a call with all its attempts; the earlier one counts. A cancelled context
// interrupts the connection at once. Each error is a *CallError: it says which method on which host, after how many attempts, and
// whether a byte of the request has left. What was not Sent has certainly not been executed.
//
//	var failed *thriftclient.CallError
//	if errors.As(err, &failed) && !failed.Sent {
//		return retryLater()
//	}
//
// Exceptions that the IDL declares are no failures: generated code returns them as always. A TApplicationException is returned in a
// CallError, and never tried again.
//
// # What is sent again
//
// A request of which nothing was sent is tried on every other host, then, after a pause, on all of them again, up to Options.Attempts
// times and 100 attempts in all: the host refuses, cannot be reached in ConnectTimeout, or has closed the idle connection. Every other failure is tried again
// only if the method is in Options.Idempotent, on another host, after a pause with full jitter, Options.Attempts times (3) at most, and
// within a budget that retries and hedges share: a fifth of the calls of the last ten seconds, and ten a second. A method that is not
// in Idempotent is never sent twice.
//
// # Which host is asked
//
// Two hosts are drawn by weight, and the one with the smaller product of latency and calls in flight has the call. The latency is a
// moving average that jumps up to every peak and comes down slowly (Finagle's peak EWMA), and a host that owes answers is at least as
// slow as it has been silent: one that hangs is avoided after a few milliseconds. Random and RoundRobin are there, too. Weights are
// those of the registrations (.members/ in the mount). New hosts start slowly. A set that is too large for every client to connect to
// all of it is cut to Options.Subset hosts.
//
// A host is ejected after Ejection.Failures (5) failures in a row, of connections or of calls, or when its success rate of ten seconds
// is far below that of the others: for a second, then two, and so on up to a minute, with jitter. Then a connection is tried, without a
// call; if that succeeds, one call is, and if that succeeds too, the host is back, and starts slowly. A oneway call that was sent proves nothing. Never is more than a half of the
// hosts ejected (Ejection.Share), and if less than 30 % are left (Ejection.Panic) ejection is ignored.
//
// # What the file may do
//
// Who joins the serverset file is used at once. Who leaves it gets no new calls, and the running ones finish. An empty, broken or
// missing file changes nothing, nor does one that has lost more than half of its hosts, until that has lasted for a minute
// (Options.Hold): the last good hosts stay.
//
// # What it tells
//
// Options.Logger hears when a host is ejected and when it is back, and when the file is not good. Options.Metrics hears of every call,
// attempt, retry, hedge and connection; the package thriftclient/prometheus has one for Prometheus, and nothing of Prometheus is in this
// one. Pool.Hosts is what the pool thinks of each host now. Options.Middleware wraps a call with all its attempts.
//
// # What we do differently from the old client
//
// The Python client of KingPin, ThriftClientMixin, did these things that a Pool does not:
//
//   - It sent every call up to three times, executed or not. We send again only what is marked.
//   - It tore down each connection after 50 requests or 10 s. Ours live for MaxAge (10 min), as hosts are chosen anew for each call.
//   - It kept to one host until that failed, and the last of its attempts, or all, went to another. We choose for each call, and
//     another host for each attempt.
//   - It held back a failed host for a fixed time, if that were not more than 20 % of them, and in the end not even that. See above.
//   - It had a pause neither before a retry nor between hosts.
//   - Its pool waited for a connection for 5 s, and then threw an error of its own. We wait as long as the call may take.
//   - It had a policy function for what to retry and which connections to replace. Here the method decides the one, and the state
//     of the stream the other.
//   - Its per-call keyword rpc_timeout_ms is the deadline of the context. Arguments are not logged.
//
// Locks: Pool.mu before ejector.mu before load.mu; host.mu stands alone. No lock is held during I/O.
package thriftclient
