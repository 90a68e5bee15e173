package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

func (a *app) reportCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "report -o FILE",
		Short: "Write one HTML page with charts and a table of all peers",
		Long: `Write one HTML page with charts and a sortable table of all peers. It is
self-contained: no other file, no network.`,
		Example: "  peerscore report -o peers.html",
		Args:    takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return fail(exitUsage, "name the file to write with -o, - for standard output")
			}
			var page *view.Page
			err := a.reading(cmd.Context(), func(r reader.Reader) error {
				page = view.NewPage(r.Profile.Name)
				return r.Each(cmd.Context(), store.Filter{}, func(r view.Report) error { page.Add(r); return nil })
			})
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := page.Write(&text, 0); err != nil {
				return err
			}
			if path == "-" {
				_, err := text.WriteTo(a.Out)
				return err
			}
			if err := replaceFile(path, text.Bytes()); err != nil {
				return fail(exitUsage, "cannot write %s: %w", path, bare(err))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&path, "output", "o", "", "write the page to `FILE`, - for standard output")
	return cmd
}

// bare is an error of a file without the name of the file.
func bare(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// replaceFile leaves the old file whole until the new one is. What a link leads to is replaced,
// not the link; a device or a FIFO is not a file.
func replaceFile(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return errors.New("not a regular file; -o - writes to standard output")
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".peerscore-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // no longer there once it has its name
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
