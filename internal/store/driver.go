package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
)

// connector opens connections that differ from the driver's in two ways:
//
// Statements with arguments are prepared once for each connection and kept. SQLite spends more time on understanding a
// statement than on running it, and the hot ones are the same each time. What bun writes has its values in the text, so it
// is not kept.
//
// On a steady connection a context that ends does not break off the statement under way. SQLite would undo the whole
// transaction, and with it what others have written in it.
type connector struct {
	driver.Connector
	steady bool
}

// sqliteConn is what the driver's connections can do and database/sql asks for.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.Validator
	driver.SessionResetter
}

type sqliteStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// keptStmts is how many statements a connection keeps: more than there are.
const keptStmts = 128

// Connect opens a connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	can, ok := inner.(sqliteConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the SQLite driver's %T lacks a method", inner), inner.Close())
	}
	return &conn{sqliteConn: can, steady: c.steady, kept: map[string]sqliteStmt{}}, nil
}

// conn is one connection; database/sql uses it from one goroutine at a time.
type conn struct {
	sqliteConn
	steady bool
	kept   map[string]sqliteStmt // those not in use
}

func (c *conn) context(ctx context.Context) context.Context {
	if c.steady {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// BeginTx begins a transaction.
func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return c.sqliteConn.BeginTx(c.context(ctx), o)
}

// ExecContext runs a statement.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	ctx = c.context(ctx)
	if len(args) == 0 && query != savepoint && query != release {
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	st, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	res, err := st.ExecContext(ctx, args)
	return res, errors.Join(err, c.put(query, st, err))
}

// QueryContext runs a statement that returns rows. The statement is kept when they are closed.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	ctx = c.context(ctx)
	if len(args) == 0 {
		return c.sqliteConn.QueryContext(ctx, query, args)
	}
	st, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := st.QueryContext(ctx, args)
	if err != nil {
		return nil, errors.Join(err, c.put(query, st, err))
	}
	return &keptRows{Rows: rows, end: func() error { return c.put(query, st, nil) }}, nil
}

// take returns a prepared statement that nobody else uses until it is put back.
func (c *conn) take(ctx context.Context, query string) (sqliteStmt, error) {
	if st := c.kept[query]; st != nil {
		delete(c.kept, query)
		return st, nil
	}
	st, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	can, ok := st.(sqliteStmt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the SQLite driver's %T lacks a method", st), st.Close())
	}
	return can, nil
}

// put keeps a statement for the next time, but for one that failed.
func (c *conn) put(query string, st sqliteStmt, failed error) error {
	if failed != nil || c.kept[query] != nil || len(c.kept) >= keptStmts {
		return st.Close()
	}
	c.kept[query] = st
	return nil
}

// Close closes the statements kept, then the connection.
func (c *conn) Close() error {
	var errs []error
	for _, st := range c.kept {
		errs = append(errs, st.Close())
	}
	clear(c.kept)
	return errors.Join(append(errs, c.sqliteConn.Close())...)
}

type keptRows struct {
	driver.Rows
	end func() error
}

// Close ends the reading.
func (r *keptRows) Close() error {
	err := r.Rows.Close()
	if r.end != nil {
		err = errors.Join(err, r.end())
		r.end = nil
	}
	return err
}
