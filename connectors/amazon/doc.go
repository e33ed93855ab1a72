// Package amazon is what the connectors that call AWS share: who they are there (keys, the worker's own credentials, roles), where they call, and
// what the error codes mean that every service gives.
package amazon
