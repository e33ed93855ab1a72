package devserver

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	schema "go.temporal.io/server/schema/sqlite"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	clusterName = "active"
	file        = "temporal.db"
	retention   = 7 * 24 * time.Hour // of closed workflows
)

// attributes are the search attributes that installations set, for lists and filters in the UI.
func attributes() map[string]enumspb.IndexedValueType {
	return map[string]enumspb.IndexedValueType{
		"TributaryIntegration": enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"TributaryUser":        enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"TributaryHealth":      enumspb.INDEXED_VALUE_TYPE_KEYWORD,
	}
}

// prepare makes the database and the namespace where they are missing.
func prepare(o Options) (*config.SQL, error) {
	database := &config.SQL{PluginName: sqlite.PluginName}
	if o.Dir == "" {
		// The plugin keeps databases in memory by name as long as the process lives: another name is another database.
		database.DatabaseName = uuid.NewString()
		database.ConnectAttributes = map[string]string{"mode": "memory", "cache": "shared"}
	} else {
		path := filepath.Join(o.Dir, file)
		if err := create(path); err != nil {
			return nil, err
		}
		database.DatabaseName = inURI(path)
		database.ConnectAttributes = map[string]string{"mode": "rw", "journal_mode": "wal", "synchronous": "normal"}
		if o.SyncFull {
			database.ConnectAttributes["synchronous"] = "full"
		}
	}
	namespace, err := schema.NewNamespaceConfig(clusterName, o.Namespace, false, attributes())
	if err != nil {
		return nil, err
	}
	namespace.Detail.Config.Retention = durationpb.New(retention)
	return database, schema.CreateNamespaces(database, namespace)
}

// create makes the tables under another name first: a crash in the middle leaves no half a database behind.
func create(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	draft := path + "." + uuid.NewString()
	defer os.Remove(draft)
	if err := schema.SetupSchema(&config.SQL{
		PluginName: sqlite.PluginName, DatabaseName: inURI(draft), ConnectAttributes: map[string]string{"mode": "rwc"},
	}); err != nil {
		return err
	}
	return os.Rename(draft, path)
}

// inURI writes a path as the plugin puts it into a URI, where ?, # and % would not stand for themselves.
func inURI(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// configure is the configuration of a cluster of one.
func configure(a address, database *config.SQL) *config.Config {
	frontend := a.reach(primitives.FrontendService)
	return &config.Config{
		Services: a.services(),
		Persistence: config.Persistence{
			DefaultStore: sqlite.PluginName, VisibilityStore: sqlite.PluginName, NumHistoryShards: 1,
			DataStores: map[string]config.DataStore{sqlite.PluginName: {SQL: database}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10, MasterClusterName: clusterName, CurrentClusterName: clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{
				clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: frontend},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		PublicClient:        config.PublicClient{HostPort: frontend},
		Archival: config.Archival{
			History: config.HistoryArchival{State: config.ArchivalDisabled}, Visibility: config.VisibilityArchival{State: config.ArchivalDisabled},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: config.ArchivalDisabled},
		}},
	}
}
