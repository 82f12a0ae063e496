// SPDX-License-Identifier: Apache-2.0

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** The routes of README.md over whatever a server calls an exchange. */
abstract class Answer {
	static FileOutputStream log;
	private static final byte[] FILL = new byte[1 << 20];
	static {
		Arrays.fill(FILL, (byte) 'j');
	}

	final long start = System.nanoTime();

	abstract String method();
	abstract String target();
	abstract InputStream body() throws IOException;
	/** size -1: chunked */
	abstract OutputStream head(int status, long size) throws IOException;
	/** Everything is written when it returns. */
	abstract void done() throws IOException;
	/** Ends the connection; reset where the server can. */
	abstract void cut() throws IOException;

	private void record(int status, long in, long out) throws IOException {
		record(status, in, out, 0);
	}

	private void record(int status, long in, long out, long write) throws IOException {
		String line = method() + " " + target() + " " + status + " " + start + " " + System.nanoTime() + " " + in + " " + out + " " + write + "\n";
		log.write(line.getBytes(StandardCharsets.ISO_8859_1));
	}

	private static void fill(OutputStream out, long n) throws IOException {
		for (; n > 0; n -= FILL.length)
			out.write(FILL, 0, (int) Math.min(n, FILL.length));
	}

	private void reply(int status, byte[] body, long in) throws IOException {
		OutputStream out = head(status, body.length);
		boolean head = method().equals("HEAD");
		long write = System.nanoTime();
		if (!head)
			out.write(body);
		done();
		record(status, in, head ? 0 : body.length, write);
	}

	private void get(long n) throws IOException {
		OutputStream out = head(200, n);
		boolean head = method().equals("HEAD");
		if (!head)
			fill(out, n);
		done();
		record(200, 0, head ? 0 : n);
	}

	private void chunked(long n) throws IOException {
		OutputStream out = head(200, -1);
		for (long at = 0; at < n; at += 30000) {
			fill(out, Math.min(30000, n - at));
			out.flush();
		}
		done();
		record(200, 0, n);
	}

	private void drip() throws IOException, InterruptedException {
		try {
			OutputStream out = head(200, -1);
			for (int i = 0; i < 500; i++) {
				fill(out, 100);
				out.flush();
				Thread.sleep(10);
			}
			done();
		} finally {
			record(200, 0, 0);
		}
	}

	private void abort(String when) throws IOException, InterruptedException {
		boolean mid = when.equals("mid");
		if (mid) {
			OutputStream out = head(200, 1000);
			fill(out, 10);
			out.flush();
			Thread.sleep(20);
		}
		record(mid ? 200 : 0, 0, 0);
		cut();
	}

	void run() throws IOException, InterruptedException {
		String[] part = target().split("\\?")[0].split("/");
		String arg = part.length > 2 ? part[2] : "";
		byte[] one = { 'x' };
		switch (part.length > 1 ? part[1] : "") {
		case "get": get(Long.parseLong(arg)); break;
		case "chunked": chunked(Long.parseLong(arg)); break;
		case "status": reply(Integer.parseInt(arg), one, 0); break;
		case "drip": drip(); break;
		case "abort": abort(arg); break;
		case "echo": {
			byte[] body = body().readAllBytes();
			reply(200, body, body.length);
			break;
		}
		case "sink": {
			byte[] piece = new byte[65536];
			long total = 0;
			InputStream in = body();
			for (int n; (n = in.read(piece)) > 0;)
				total += n;
			reply(200, Long.toString(total).getBytes(), total);
			break;
		}
		case "delay":
			if (!arg.equals("0"))
				Thread.sleep(Long.parseLong(arg));
			reply(200, one, 0);
			break;
		default: reply(404, one, 0);
		}
	}
}
