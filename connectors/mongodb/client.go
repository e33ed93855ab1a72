package mongodb

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"tributary/connectors"
)

// client is the connections to one database, made when they are first needed: to look up the servers of a mongodb+srv URL takes a round trip.
type client struct {
	configure func() (*options.ClientOptions, error)
	where     string // the hosts, for messages
	database  string

	mu    sync.Mutex
	mongo *mongo.Client
	ready map[string]bool // collections that have their index

	// emptied is why a pool of connections was last emptied.
	emptied atomic.Pointer[error]
}

func newClient(c Connection, allowed []*net.IPNet) (*client, error) {
	t, err := c.target(allowed)
	if err != nil {
		return nil, err
	}
	return &client{configure: t.options, where: t.where, database: t.database, ready: make(map[string]bool)}, nil
}

func (c *client) connect() (*mongo.Database, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mongo == nil {
		options, err := c.configure()
		if err != nil {
			return nil, c.failed("connect", err)
		}
		options.SetPoolMonitor(&event.PoolMonitor{Event: func(e *event.PoolEvent) {
			if e.Type == event.ConnectionPoolCleared && e.Error != nil {
				c.emptied.Store(&e.Error)
			}
		}})
		m, err := mongo.Connect(options)
		if err != nil {
			return nil, c.failed("connect", err)
		}
		c.mongo = m
	}
	return c.mongo.Database(c.database), nil
}

// Close waits for nobody: who uses the client has left.
func (c *client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mongo == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.mongo.Disconnect(ctx); err != nil {
		return c.failed("close", err)
	}
	return nil
}

// collection returns a collection with its index, which is made when it is first used. Without the index only the readers are slower: where the user may not make one, or
// the server knows of none, that is logged.
func (c *client) collection(ctx context.Context, name string, log func(string, ...any)) (*mongo.Collection, error) {
	db, err := c.connect()
	if err != nil {
		return nil, err
	}
	collection := db.Collection(name)
	c.mu.Lock()
	ready := c.ready[name]
	c.mu.Unlock()
	if ready {
		return collection, nil
	}
	if err := c.distinguishes(ctx, db, name); err != nil {
		return nil, err
	}
	_, err = collection.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: fieldReceivedAt, Value: 1}}})
	if err != nil {
		e := c.failed("create index", err)
		if e.Kind != connectors.Forbidden && e.Kind != connectors.Invalid {
			return nil, e
		}
		log("the collection stays without an index on "+fieldReceivedAt, "collection", name, "error", e.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready[name] = true
	return collection, nil
}

// distinguishes refuses a collection that somebody made with a collation: its _id is compared by that, and one key could be taken for another. A user who may not list
// collections, and a server that can't, does not tell. https://www.mongodb.com/docs/manual/reference/collation/
func (c *client) distinguishes(ctx context.Context, db *mongo.Database, name string) error {
	specifications, err := db.ListCollectionSpecifications(ctx, bson.D{{Key: "name", Value: name}})
	if err != nil {
		e := c.failed("look at the collection", err)
		if e.Kind == connectors.Forbidden || e.Kind == connectors.Invalid {
			return nil
		}
		return e
	}
	for _, s := range specifications {
		if locale, _ := s.Options.Lookup("collation", "locale").StringValueOK(); locale != "" && locale != "simple" {
			return connectors.Errorf(connectors.Invalid, "collection "+name, "it has the collation %s, which takes different keys for one: set another collection, or make it without a collation", locale)
		}
	}
	return nil
}
