// SPDX-License-Identifier: Apache-2.0

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

/** The JDK's own HttpServer. */
public class JdkServer {
	static class Exchange extends Answer {
		private final HttpExchange x;
		private OutputStream out;

		Exchange(HttpExchange x) {
			this.x = x;
		}
		String method() {
			return x.getRequestMethod();
		}
		String target() {
			return x.getRequestURI().toString();
		}
		InputStream body() {
			return x.getRequestBody();
		}
		OutputStream head(int status, long size) throws IOException {
			if (method().equals("HEAD")) {
				x.getResponseHeaders().set("Content-Length", Long.toString(size));
				x.sendResponseHeaders(status, -1);
			} else {
				x.sendResponseHeaders(status, size < 0 ? 0 : size == 0 ? -1 : size);
			}
			return out = x.getResponseBody();
		}
		void done() throws IOException {
			out.close();
		}
		void cut() {
			x.close();
		}
	}

	public static void main(String[] args) throws Exception {
		System.setProperty("sun.net.httpserver.nodelay", "true");
		System.setProperty("sun.net.httpserver.idleInterval", "60");
		Answer.log = new FileOutputStream(args[1], true);
		HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 512);
		server.setExecutor(Executors.newCachedThreadPool());
		server.createContext("/", x -> {
			Exchange e = new Exchange(x);
			try {
				e.run();
			} catch (InterruptedException i) {
				throw new IOException(i);
			}
		});
		server.start();
	}
}
