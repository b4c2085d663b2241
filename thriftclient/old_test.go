package thriftclient_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// old is what the tests of the Python client want (test_thrift_client_mixin.py, 24 of them, and test_connection_pool.py, 10), and
// which of our tests wants it, or why none does.
var old = []struct{ behaviour, test, differs string }{
	// test_thrift_client_mixin.py
	{behaviour: "arguments as a string for the log", differs: "arguments are not logged: they are other people's data"},
	{behaviour: "that string is cut at 1000 characters", differs: "as above"},
	{behaviour: "that string may be Unicode", differs: "as above"},
	{behaviour: "a success keeps the host and counts", test: "TestEveryTransportAndProtocolIsSpoken", differs: "a host is chosen for each call; the connection is kept"},
	{behaviour: "a transport error ends as a connection error after three attempts", test: "TestSentIsExact", differs: "the error is a CallError and says whether it was sent"},
	{behaviour: "an IOError does", test: "TestOnlyWhatIsSafeIsSentAgain", differs: "only what is idempotent is sent again"},
	{behaviour: "a socket error does", test: "TestOnlyWhatIsSafeIsSentAgain"},
	{behaviour: "a connect timeout does", test: "TestConnectingIsBounded"},
	{behaviour: "the last attempt goes to another host", test: "TestTheOneHostThatIsLeftIsFound", differs: "each does"},
	{behaviour: "the next call works", test: "TestARestartOfTheOnlyHostIsBridged"},
	{behaviour: "a timeout moves to another host with every attempt", test: "TestATimeoutMovesTheCallToAnotherHost"},
	{behaviour: "a TApplicationException is raised, and the connection kept", test: "TestEveryTransportAndProtocolIsSpoken"},
	{behaviour: "a connection is torn down after so many requests", differs: "after MaxAge alone: a busy connection is no worse than another"},
	{behaviour: "and after so much time", test: "TestOldConnectionsAreClosed"},
	{behaviour: "a timeout of one call is that of the socket", test: "TestALateReplyReachesNobody", differs: "it is the context's deadline"},
	{behaviour: "two clients are independent", test: "TestPoolsAreIndependent"},
	{behaviour: "pooled: methods are wrapped as functions", differs: "generated code is used as it is"},
	{behaviour: "pooled: success", test: "TestAGeneratedClientForEachGoroutine"},
	{behaviour: "pooled: a network error replaces the connection", test: "TestAnAnswerToSomethingElseIsNotTaken"},
	{behaviour: "pooled: a policy says which connections are replaced", test: "TestEveryTransportAndProtocolIsSpoken", differs: "the state of the stream does: whatever leaves it clean keeps it"},
	{behaviour: "pooled: no more than pool_size at a time", test: "TestTheLimitHoldsUnderAnyRace", differs: "the limit is one of each host"},
	{behaviour: "pooled: the end-to-end timeout counts, the expiration too", test: "TestAnAnswerThatTricklesEndsAtTheDeadline", differs: "Timeout and CallTimeout"},
	{behaviour: "pooled: waiting for a connection times out", test: "TestWaitingForAConnectionEndsAtTheDeadline"},
	{behaviour: "pooled: a timing is recorded for each method", test: "TestWhatPrometheusSees"},
	// test_connection_pool.py
	{behaviour: "counts of what is out and what is in", test: "TestTheConnectionUsedLastIsUsedNext", differs: "Pool.Hosts has them"},
	{behaviour: "the last one in is the first one out", test: "TestTheConnectionUsedLastIsUsedNext"},
	{behaviour: "what is replaced is a new connection in the same place", test: "TestALateReplyReachesNobody"},
	{behaviour: "a block timeout is Empty", test: "TestWaitingForAConnectionEndsAtTheDeadline", differs: "it is the deadline's error"},
	{behaviour: "a constructor that blocks is bounded", test: "TestConnectingIsBounded"},
	{behaviour: "a with statement gives it back", test: "TestAPanicOfGeneratedCodeLosesNoConnection", differs: "connections are not for callers to hold"},
	{behaviour: "an exception closes it, once", test: "TestAnAnswerToSomethingElseIsNotTaken"},
	{behaviour: "a failed creation gives the place back", test: "TestConnectingIsBounded"},
	{behaviour: "the text of an expiration", differs: "the text of a CallError is another one: ExampleCallError"},
	{behaviour: "idle ones are collected", test: "TestIdleConnectionsAreClosedButForTheWarmOnes"},
}

func TestWhatTheOldClientWasTestedForIsTested(t *testing.T) {
	if n := len(old); n != 24+10 {
		t.Errorf("%d behaviours, the old tests are 34", n)
	}
	there := map[string]bool{}
	for _, pattern := range []string{"*_test.go", "prometheus/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range parsed.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
					there[f.Name.Name] = true
				}
			}
		}
	}
	for _, o := range old {
		switch {
		case o.test == "" && o.differs == "":
			t.Errorf("%s: neither tested nor explained", o.behaviour)
		case o.test != "" && !there[o.test]:
			t.Errorf("%s: there is no %s", o.behaviour, o.test)
		}
	}
}
