// The service of KingPin's first example. See README.md for how it is run.
namespace go testservice

service TestService {
  string ping()
}
