package mirror

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// What one request tries by itself. Whoever asked tries again later, with pauses of its own.
const (
	attempts   = 3
	firstPause = 100 * time.Millisecond // the bound of a random one, twice as long before each further attempt

	dialTimeout   = 3 * time.Second
	answerTimeout = 10 * time.Second // from the last byte sent to the first one received: whoever went silent is given up

	// maxIdle connections stay open between requests: one for each of Options.Workers, and some for publishers.
	maxIdle = 64

	// maxHeader bounds what a server may say before the body, in bytes; the metadata are 2 KB of it.
	maxHeader = 64 << 10
)

// jitter is the pause after an attempt that failed, the first being 1.
func jitter(attempt int) time.Duration { return rand.N(firstPause << (attempt - 1)) }

// httpClient is what the SDK puts its own settings on, such as AWS_CA_BUNDLE.
func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) {
		d.Timeout = dialTimeout
	}).WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = answerTimeout
		t.MaxIdleConns, t.MaxIdleConnsPerHost = maxIdle, maxIdle
		t.MaxResponseHeaderBytes = maxHeader
		t.ForceAttemptHTTP2 = false // one connection for all requests is one to lose for all of them
	})
}

// connections are those to the S3 server. Redirects are not followed: they would carry bodies and names to whom nobody named.
type connections struct {
	transport *http.Transport
	observe   func(op string, status int, took time.Duration) // of S3Options
	skew      *atomic.Int64                                   // of the server's clock, as its last answer had it, in nanoseconds
}

func newConnections(settings aws.Config, observe func(string, int, time.Duration)) connections {
	client, ok := settings.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		panic("the SDK's settings hold another HTTP client than was put there")
	}
	if observe == nil {
		observe = func(string, int, time.Duration) {}
	}
	return connections{client.GetTransport(), observe, &atomic.Int64{}}
}

// Do sends one request. After one that failed the idle connections are closed, since those of a server that restarted or of a network
// that was away are dead too, and each would cost an attempt. A deadline is such a failure; a caller who went away is none.
func (c connections) Do(r *http.Request) (*http.Response, error) {
	began := time.Now()
	response, err := c.transport.RoundTrip(r)
	status := 0
	if err == nil {
		status = response.StatusCode
		c.note(response.Header.Get("Date"), began)
	}
	c.observe(opOf(r), status, time.Since(began))
	if err != nil && !errors.Is(err, context.Canceled) {
		c.transport.CloseIdleConnections()
	}
	return response, err
}

// newRetryer has no quota of retries shared by all requests, unlike the SDK's own: it would be empty after an outage, just when
// retries begin to succeed.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) { return jitter(attempt), nil })
		o.RateLimiter = ratelimit.None
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{
			"ConditionalRequestConflict": {}, // 409: another put of this key was under way
			"OperationAborted":           {},
			"BadDigest":                  {}, // the bytes that arrived were not those sent
		}})
	})
}

// note remembers how far the server's clock is ahead, from the date of an answer, which has no fractions. It was written between the
// request and now.
func (c connections) note(date string, asked time.Time) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	earliest, latest := at, at.Add(time.Second)
	switch now := time.Now(); {
	case latest.Before(asked):
		c.skew.Store(int64(latest.Sub(asked)))
	case earliest.After(now):
		c.skew.Store(int64(earliest.Sub(now)))
	default:
		c.skew.Store(0) // as far as one can see
	}
}

// opOf is what a request does, in the words of S3Options.Observe.
func opOf(r *http.Request) string {
	if r.URL.Query().Has("list-type") {
		return "list"
	}
	return strings.ToLower(r.Method)
}
