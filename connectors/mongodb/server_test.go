//go:build slow

package mongodb_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"tributary/internal/pgtest"
)

// liveEnv names the environment variable with the URL of a real MongoDB to test against. Its user must be allowed to write to and drop databases named test_....
const liveEnv = "TRIBUTARY_TEST_MONGODB"

// server is a FerretDB, which speaks the protocol of MongoDB, over a private PostgreSQL. Both end when what is held here is let go of, at the latest with the test process.
type server struct {
	host     string
	postgres *pgtest.Server
	leash    io.Closer // the child's standard input
}

var ferretdb = sync.OnceValues(func() (*server, error) {
	postgres, err := pgtest.Launch("fsync=off", "synchronous_commit=off") // FerretDB commits each document by itself
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(cache, "tributary-test", "ferretdb") // go build leaves it as it is while it is up to date
	if out, err := exec.Command("go", "build", "-C", "../../tests/servers", "-o", program, "./ferretdb").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build FerretDB: %w\n%s", err, out)
	}
	// An update of FerretDB keeps a connection until the end of its command, and with fewer than all need at once they wait for one another for ever.
	child := exec.Command(program, "-postgres", postgres.DSN("postgres")+"&pool_max_conns=400")
	child.Dir, child.Stderr = os.TempDir(), os.Stderr
	leash, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("FerretDB did not start: %w", err)
	}
	u, err := url.Parse(strings.TrimSpace(line))
	if err != nil {
		return nil, err
	}
	return &server{u.Host, postgres, leash}, nil
})

// place is an empty database of a server.
type place struct {
	url      string // of the server, past everything
	live     bool
	database string
	client   *mongo.Client
	relay    *relay // nil if live
}

func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{url: os.Getenv(liveEnv), database: "test_" + strings.ToLower(rand.Text()[:12])}
	p.live = p.url != ""
	if !p.live {
		server, err := ferretdb()
		if err != nil {
			t.Fatal(err)
		}
		p.url = "mongodb://" + server.host + "/"
		p.relay = newRelay(t, server.host)
	}
	client, err := mongo.Connect(options.Client().ApplyURI(p.url))
	if err != nil {
		t.Fatal(err)
	}
	p.client = client
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := client.Database(p.database).Drop(ctx); err != nil {
			t.Errorf("drop database: %v", err)
		}
		if err := client.Disconnect(ctx); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *place) db() *mongo.Database { return p.client.Database(p.database) }

// documents reads all of the database, as they are.
func (p *place) documents(t testing.TB) []bson.Raw {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // FerretDB takes a minute and more for a hundred thousand
	defer cancel()
	names, err := p.db().ListCollectionNames(ctx, bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var all []bson.Raw
	for _, name := range names {
		cursor, err := p.db().Collection(name).Find(ctx, bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		var docs []bson.Raw
		if err := cursor.All(ctx, &docs); err != nil {
			t.Fatal(err)
		}
		all = append(all, docs...)
	}
	return all
}
