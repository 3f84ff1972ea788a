package store

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/uptrace/bun"
)

// insertSQL keeps the INSERT of each row type. Bun writes values into the text of a statement, which SQLite then reads anew each time; with
// arguments the text is the same and its statement is prepared once.
var insertSQL sync.Map // reflect.Type -> string

// insert adds rows one by one. conflict is the ON CONFLICT clause, "" for none. It returns how many rows were added.
func insert[T any](ctx context.Context, tx bun.Tx, conflict string, rows ...T) (int64, error) {
	typ := reflect.TypeFor[T]()
	table := tx.Dialect().Tables().Get(typ)
	text, ok := insertSQL.Load(typ)
	if !ok {
		names := make([]string, len(table.Fields))
		for i, f := range table.Fields {
			names[i] = f.Name
		}
		text = fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s)", table.Name, strings.Join(names, ", "), strings.Repeat(", ?", len(names)-1))
		insertSQL.Store(typ, text)
	}
	query := text.(string)
	if conflict != "" {
		query += " " + conflict
	}
	args := make([]any, len(table.Fields))
	var added int64
	for i := range rows {
		v := reflect.ValueOf(&rows[i]).Elem()
		for j, f := range table.Fields {
			args[j] = v.FieldByIndex(f.Index).Interface()
		}
		res, err := tx.Tx.ExecContext(ctx, query, args...)
		if err != nil {
			return added, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return added, err
		}
		added += n
	}
	return added, nil
}
