// Package environment turns off what the Snowflake driver does by itself when a program starts that has it: unpacking a native library into a folder for temporary
// files and loading it, and asking the cloud's metadata addresses where the program runs. The driver looks at the environment for that, for the library in its
// own init, before any function of the connector can run.
//
// So this package has to be initialised first. It is, by the order that Go gives packages (https://go.dev/ref/spec#Program_initialization): the first, by
// import path, of those whose imports are ready. It needs os only, and the driver needs net/http, whose vendored packages come after its path. Keep it so: it must
// import nothing else. A test of the connector looks at what the process has loaded.
//
// What the operator sets in the environment stands: https://github.com/snowflakedb/gosnowflake/blob/v2.1.0/doc.go
package environment

import "os"

func init() {
	for _, name := range []string{"SF_DISABLE_MINICORE", "SNOWFLAKE_DISABLE_PLATFORM_DETECTION"} {
		if _, set := os.LookupEnv(name); !set {
			_ = os.Setenv(name, "true") // the name is valid
		}
	}
}
