package registry
type Endpoint string
