package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"tributary/connectors"
)

// status is what connectionStatus answers. https://www.mongodb.com/docs/manual/reference/command/connectionStatus/
type status struct {
	AuthInfo struct {
		Users      []bson.Raw  `bson:"authenticatedUsers"`
		Privileges []privilege `bson:"authenticatedUserPrivileges"`
	} `bson:"authInfo"`
}

// privilege is a list of actions on a resource: a collection, all of a database ("" for the collection), of all databases, or anything.
// https://www.mongodb.com/docs/manual/reference/resource-document/
type privilege struct {
	Resource struct {
		DB         *string `bson:"db"`
		Collection *string `bson:"collection"`
		Any        bool    `bson:"anyResource"`
	} `bson:"resource"`
	Actions []string `bson:"actions"`
}

// covers says whether it is a right to a collection; "" is one whose name is not known beforehand.
func (p privilege) covers(database, collection string) bool {
	r := p.Resource
	if r.Any {
		return true
	}
	if r.DB == nil || r.Collection == nil || *r.DB != "" && *r.DB != database {
		return false
	}
	return *r.Collection == "" || *r.Collection == collection || collection == "" && !strings.HasPrefix(*r.Collection, "system.")
}

// missing are the rights that writing needs and the user has not.
func (s status) missing(database, collection string, mode connectors.Mode) []string {
	needed := []string{"find", "insert"}
	if mode == connectors.ModeUpsert {
		needed = append(needed, "update")
	}
	return slices.DeleteFunc(needed, func(action string) bool {
		return slices.ContainsFunc(s.AuthInfo.Privileges, func(p privilege) bool {
			return p.covers(database, collection) && slices.Contains(p.Actions, action)
		})
	})
}

// Check reaches the primary and looks at the rights of the user, and says what to grant. It changes nothing.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	db, err := d.client.connect()
	if err != nil {
		return err
	}
	if err := db.RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err(); err != nil {
		return d.client.failed("check", err)
	}
	var s status
	err = db.RunCommand(ctx, bson.D{{Key: "connectionStatus", Value: 1}, {Key: "showPrivileges", Value: true}}).Decode(&s)
	var unknown mongo.CommandError
	if errors.As(err, &unknown) && (unknown.Code == 59 || unknown.Code == 72 || unknown.Code == 238) {
		return nil // a server of another make that does not tell
	}
	if err != nil {
		return d.client.failed("check", err)
	}
	if len(s.AuthInfo.Users) == 0 || len(s.AuthInfo.Privileges) == 0 {
		return nil // a server without access control, or that does not tell
	}
	collection, fixed := d.name.Fixed()
	if fixed {
		collection = collectionName(d.name, &connectors.Batch{}, "")
	}
	if lacks := s.missing(d.client.database, collection, d.mode); len(lacks) > 0 {
		return &connectors.Error{Kind: connectors.Forbidden, Op: "check", Message: fmt.Sprintf("the user may not %s in database %s; %s", strings.Join(lacks, ", "), d.client.database, d.client.grant())}
	}
	return nil
}
