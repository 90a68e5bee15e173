package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
)

// Migrations are numbered from 1 without a gap. PRAGMA user_version is the number of the last
// one that the file has seen. A migration is never edited once released.
//
//go:embed migration/*.sql
var migrationFiles embed.FS

// migrations returns the SQL of each migration in order.
func migrations() ([]string, error) {
	entries, err := migrationFiles.ReadDir("migration") // sorted by name
	if err != nil {
		return nil, err
	}
	var scripts []string
	for i, e := range entries {
		var number int
		if _, err := fmt.Sscanf(e.Name(), "%04d_", &number); err != nil || number != i+1 {
			return nil, fmt.Errorf("migration %s is not number %d", e.Name(), i+1)
		}
		script, err := migrationFiles.ReadFile("migration/" + e.Name())
		if err != nil {
			return nil, err
		}
		scripts = append(scripts, string(script))
	}
	return scripts, nil
}

// migrate brings the file to the present schema in one transaction.
func migrate(ctx context.Context, conn *sql.Conn) error {
	scripts, err := migrations()
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, conn)
	if err != nil || version == len(scripts) {
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := apply(ctx, conn, scripts); err != nil {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return err
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

// apply runs the scripts that the file has not seen. It reads the version inside the
// transaction, because another process may have migrated meanwhile.
func apply(ctx context.Context, conn *sql.Conn, scripts []string) error {
	version, err := schemaVersion(ctx, conn)
	if err != nil {
		return err
	}
	if version > len(scripts) {
		return versionError(version, len(scripts))
	}
	for i, script := range scripts[version:] {
		if _, err := conn.ExecContext(ctx, script); err != nil {
			return fmt.Errorf("migration %d: %w", version+i+1, err)
		}
	}
	_, err = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(scripts)))
	return err
}

// querier is a connection or a pool.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func schemaVersion(ctx context.Context, q querier) (version int, err error) {
	err = q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	return version, err
}

// checkVersion refuses a file that this program cannot read.
func checkVersion(ctx context.Context, q querier) error {
	scripts, err := migrations()
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, q)
	if err == nil && version != len(scripts) {
		err = versionError(version, len(scripts))
	}
	return err
}

func versionError(found, known int) error {
	if found > known {
		return fmt.Errorf("%w: schema %d, this program knows up to %d; a newer peerscore wrote it", ErrSchema, found, known)
	}
	return fmt.Errorf("%w: schema %d, this program reads %d; the daemon brings it up to date when it starts", ErrSchema, found, known)
}
