// The service of the tests: it says who it is and counts what it executes.
namespace go stormservice

exception Refused {
  1: string reason
}

struct Answer {
  1: i64 id
  2: string host
}

service Storm {
  // echo answers with the id that it was given, after a while. It may be repeated.
  Answer echo(1: i64 id, 2: i32 microseconds, 3: binary padding)
  // once counts the id. Two of one id are a mistake of the client.
  Answer once(1: i64 id) throws (1: Refused refused)
  // fail is a failure of the server's own: a TApplicationException.
  Answer fail(1: i64 id)
  oneway void tell(1: i64 id)
}
