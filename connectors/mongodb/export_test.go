package mongodb

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"tributary/connectors"
	"tributary/connectors/table"
)

// Document is what a batch's first record becomes.
func Document(b connectors.Batch, s Settings) bson.Raw {
	b.Records = b.Records[:1]
	return Documents(b, s)[0]
}

// Documents are what a batch's records become.
func Documents(b connectors.Batch, s Settings) []bson.Raw {
	d := &destination{raw: s.Raw, encoder: encoder{decimals: s.Decimals != "text", dates: parsePaths(s.Dates)}}
	all := make([]bson.Raw, len(b.Records))
	for i := range b.Records {
		all[i] = d.document(&b, i).insert()
	}
	return all
}

// CollectionName is the name of the collection for a stream.
func CollectionName(template string, b connectors.Batch, stream string) (string, error) {
	name, err := table.ParseName(template)
	if err != nil {
		return "", err
	}
	return collectionName(name, &b, stream), nil
}

// Missing are the rights that an answer to connectionStatus lacks.
func Missing(answer bson.Raw, database, collection string, mode connectors.Mode) ([]string, error) {
	var s status
	if err := bson.Unmarshal(answer, &s); err != nil {
		return nil, err
	}
	return s.missing(database, collection, mode), nil
}

// Codes are the codes that the connector knows, of commands and of documents, with the kinds of the first.
func Codes() (commands map[int]connectors.Kind, documents []int) {
	commands = make(map[int]connectors.Kind)
	for code, c := range codes {
		commands[code] = c.kind
	}
	for code := range rows {
		documents = append(documents, code)
	}
	return commands, documents
}
